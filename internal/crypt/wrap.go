package crypt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"datamesh/internal/errs"
	"datamesh/internal/hash"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/btcsuite/btcd/btcutil/bech32"
)

// A Recipient is a public key that a manifest is sealed to.
type Recipient struct {
	age     age.Recipient
	classic bool // its security ends with the first large quantum computer
	text    string
}

// Classic reports whether the recipient lowers what is sealed to it to
// classic, not post-quantum, security.
func (r Recipient) Classic() bool { return r.classic }

// ParseRecipient reads a recipient in age's text: age1pq1… is hybrid, age1… is
// classic, and age1NAME1… is of a plugin, which [Recipient.Through] asks what it
// is. What is not meant as a recipient may be a secret, and is not repeated in
// the error. Kind: Invalid.
func ParseRecipient(s string) (r Recipient, err error) {
	r.text = s
	switch {
	case strings.HasPrefix(s, "age1pq1"):
		r.age, err = age.ParseHybridRecipient(s)
	case pluginOf(s) != "":
		r.classic = true
		r.age, err = plugin.NewRecipient(s, &plugin.ClientUI{})
	case strings.HasPrefix(s, "age1"):
		r.classic = true
		r.age, err = age.ParseX25519Recipient(s)
	default:
		return Recipient{}, errs.WithHint(errs.New(errs.Invalid, "that is not a recipient"),
			`a recipient begins with age1; "datamesh id" prints the one of a home`)
	}
	if err != nil { // age's own text has all of s, which is long
		return Recipient{}, errs.WithHint(errs.New(errs.Invalid, "recipient %.16s… is mistyped, or not of a kind that is known", s),
			`copy all of it from what "datamesh id" prints in the home of its owner`)
	}
	return r, nil
}

// An Identity is the secret that opens what is sealed to its recipient.
type Identity struct {
	age    age.Identity // nil: of a plugin, whose program is not to be run
	plugin string
	text   string // of a plugin's
}

// Format prints no identity, whatever the verb, so that none gets into a log.
func (Identity) Format(f fmt.State, _ rune) { io.WriteString(f, "(identity)") }

// NewIdentity returns the hybrid identity whose secret is seed, with its recipient.
func NewIdentity(seed [32]byte) (Identity, Recipient, error) {
	text, err := identityText(seed)
	if err != nil {
		return Identity{}, Recipient{}, errs.New(errs.KeyManagement, "hybrid identity: %w", err)
	}
	id, err := age.ParseHybridIdentity(text)
	if err != nil {
		return Identity{}, Recipient{}, errs.New(errs.KeyManagement, "hybrid identity: %w", err)
	}
	return Identity{age: id}, Recipient{age: id.Recipient(), text: id.Recipient().String()}, nil
}

// identityText is the secret as age writes it, in Bech32 (BIP 173, not the
// Bech32m of our own texts): the way in that age offers.
func identityText(seed [32]byte) (string, error) {
	s, err := bech32.EncodeFromBase256("age-secret-key-pq-", seed[:])
	return strings.ToUpper(s), err
}

// ParseIdentities reads a file of identities as age writes them, one a line,
// those of plugins too. Those open nothing before [Identity.Through].
// Kind: KeyManagement.
func ParseIdentities(r io.Reader) (all []Identity, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		var id Identity
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.HasPrefix(line, pluginIdentity):
			id, err = parsePluginIdentity(line)
		default:
			var native []age.Identity
			if native, err = age.ParseIdentities(strings.NewReader(line)); err == nil {
				id.age = native[0]
			}
		}
		if err != nil {
			return nil, errs.New(errs.KeyManagement, "age identities: line %d: %w", n, err)
		}
		all = append(all, id)
	}
	if err := lines.Err(); err != nil {
		return nil, errs.New(errs.KeyManagement, "age identities: %w", err)
	}
	if len(all) == 0 {
		return nil, errs.New(errs.KeyManagement, "age identities: there are none")
	}
	return all, nil
}

// String returns the recipient in age's text.
func (r Recipient) String() string { return r.text }

// Commit returns a value that commits to key and tells nothing of it:
// AES-GCM alone lets one sealed text open differently under different keys.
func Commit(key Key) [32]byte {
	return hash.Derive("datamesh v1 manifest key commitment", key[:])
}

// Limits of what [Wrap] makes. A hybrid recipient takes 1.6 kB.
const (
	MaxRecipients = 128
	MaxWrap       = 256 << 10 // bytes of an envelope
)

// Wrap returns key in age envelopes: one for all hybrid recipients and one
// for all classic ones, as age refuses to mix them. There must be a recipient.
// Kinds: Invalid (too many recipients), Encryption.
func Wrap(key Key, to []Recipient) ([][]byte, error) {
	if len(to) > MaxRecipients {
		return nil, errs.New(errs.Invalid, "%d recipients, limit %d", len(to), MaxRecipients)
	}
	var hybrid, classic []age.Recipient
	for _, r := range to {
		if r.classic {
			classic = append(classic, r.age)
		} else {
			hybrid = append(hybrid, r.age)
		}
	}
	var wraps [][]byte
	for _, class := range [][]age.Recipient{hybrid, classic} {
		if len(class) == 0 {
			continue
		}
		wrap, err := wrap(key, class)
		if err == nil && len(wrap) > MaxWrap {
			err = errs.New(errs.KeyManagement, "%d bytes for these recipients, limit %d", len(wrap), MaxWrap)
		}
		if err != nil {
			return nil, errs.New(errs.Encryption, "wrap the key: %w", err)
		}
		wraps = append(wraps, wrap)
	}
	if len(wraps) == 0 {
		return nil, errs.New(errs.Encryption, "wrap the key: no recipient")
	}
	return wraps, nil
}

func wrap(key Key, to []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(key[:]); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Unwrap opens the first of the envelopes that one of the identities fits. It
// asks plugins only if no other fits any. Kinds: Decryption (none fits), Integrity
// (one that might fit is damaged), KeyManagement (a plugin has failed).
func Unwrap(wraps [][]byte, ids []Identity) (Key, error) {
	err := errs.New(errs.Decryption, "sealed for another identity")
	var native []age.Identity
	var plugins []Identity
	for _, id := range ids {
		switch {
		case id.plugin == "":
			native = append(native, id.age)
		case id.age != nil:
			plugins = append(plugins, id)
		}
	}
	for _, wrap := range wraps {
		if len(native) == 0 {
			break
		}
		key, e := unwrap(wrap, native)
		if e == nil {
			return key, nil
		}
		if noMatch := new(age.NoIdentityMatchError); !errors.As(e, &noMatch) {
			err = errs.New(errs.Integrity, "key envelope: %w", e)
		}
	}
	if errs.KindOf(err) == errs.Integrity {
		return Key{}, err // a program is not given what is known to be damaged
	}
	for _, wrap := range wraps {
		for _, id := range plugins {
			key, e := unwrap(wrap, []age.Identity{id.age})
			if e == nil {
				return key, nil
			}
			if noMatch := new(age.NoIdentityMatchError); !errors.As(e, &noMatch) {
				err = pluginError(id.plugin, e)
			}
		}
	}
	return Key{}, err
}

// Recipients counts those that an envelope is for. Kind: Serialization.
func Recipients(wrap []byte) (n int, err error) {
	lines := bufio.NewReader(bytes.NewReader(wrap))
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return 0, errs.New(errs.Serialization, "key envelope: %w", err)
		case strings.HasPrefix(line, "-> "):
			n++
		case strings.HasPrefix(line, "--- "):
			return n, nil
		}
	}
}

func unwrap(wrap []byte, ids []age.Identity) (key Key, err error) {
	r, err := age.Decrypt(bytes.NewReader(wrap), ids...)
	if err != nil {
		return key, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(len(key))+1))
	if err != nil {
		return key, err
	}
	if len(b) != len(key) {
		return key, errors.New("what it holds is no key")
	}
	return Key(b), nil
}
