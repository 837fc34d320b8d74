// Age-plugin-test is a plugin of age for tests. What it does is in the first
// letter of what its recipients and identities hold; a pair of X25519 follows,
// whose stanzas it calls its own, so that only it opens them.
package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// What a recipient or an identity does.
const (
	classic = 'c'
	quantum = 'q' // says that it is post-quantum
	odd     = 'o' // cannot be mixed
	hangs   = 'h'
	fails   = 'f'
	large   = 'l' // makes more than an envelope holds
	pin     = 'p' // asks for a secret, tells something, and has that confirmed
)

func main() {
	p, err := plugin.New("test")
	if err != nil {
		panic(err)
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		to, err := age.ParseX25519Recipient(string(data[1:]))
		return recipient{p, data[0], to}, err
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		id, err := age.ParseX25519Identity(string(data[1:]))
		return identity{p, data[0], id}, err
	})
	p.RegisterFlags(nil)
	os.Exit(p.Main())
}

// act does what is the same both ways.
func act(p *plugin.Plugin, kind byte) error {
	switch kind {
	case hangs:
		io.Copy(io.Discard, os.Stdin) // until its input ends
		os.Exit(1)
	case fails:
		return errors.New("its key is not plugged in\x1b[31m")
	case pin:
		if secret, err := p.RequestValue("PIN", true); err != nil || secret != "1234" {
			return errors.New("the PIN is wrong")
		}
		if err := p.DisplayMessage("touch it"); err != nil {
			return err
		}
		if yes, err := p.Confirm("go on?", "yes", "no"); err != nil || !yes {
			return errors.New("not confirmed")
		}
	}
	return nil
}

type recipient struct {
	p    *plugin.Plugin
	kind byte
	to   *age.X25519Recipient
}

func (r recipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := r.WrapWithLabels(fileKey)
	return stanzas, err
}

func (r recipient) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	if err := act(r.p, r.kind); err != nil {
		return nil, nil, err
	}
	stanzas, err := r.to.Wrap(fileKey)
	if err != nil {
		return nil, nil, err
	}
	stanzas[0].Type = "test"
	switch r.kind {
	case quantum:
		return stanzas, []string{"postquantum"}, nil
	case odd:
		return stanzas, []string{"odd"}, nil
	case large:
		stanzas = append(stanzas, &age.Stanza{Type: "large", Args: []string{strings.Repeat("x", 1<<19)}})
	}
	return stanzas, nil, nil
}

type identity struct {
	p    *plugin.Plugin
	kind byte
	id   *age.X25519Identity
}

func (i identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != "test" {
			continue
		}
		if err := act(i.p, i.kind); err != nil {
			return nil, err
		}
		key, err := i.id.Unwrap([]*age.Stanza{{Type: "X25519", Args: s.Args, Body: s.Body}})
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}
