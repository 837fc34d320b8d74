package keyring

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"datamesh/internal/durable"
	"datamesh/internal/errs"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

// The prefixes of secrets in text. In capitals, as age writes its own.
const (
	rootPrefix = "datamesh-root-"
	nodePrefix = "datamesh-node-"
)

const (
	fileVersion = 1       // first byte of what the text encodes
	maxFile     = 1 << 20 // bytes of an identity file
)

// inDir checks that the directory of a new file is there.
func inDir(dst string) error {
	dir := filepath.Dir(dst)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return errs.WithHint(errs.New(errs.FileNotFound, "there is no directory %s", dir), "make it: mkdir -p %s", dir)
	}
	return nil
}

// NodeKey reads the key of a node from its file, or makes a new one. It is
// the node's own: it is not derived, and there is no way to export it.
// Kinds: KeyManagement, IO, Full.
func NodeKey(file string) (ed25519.PrivateKey, error) {
	key, err := LoadNodeKey(file)
	if errs.KindOf(err) == errs.FileNotFound {
		seed := NewRoot()
		err = writeSecret(file, "# DataMesh node key. It belongs to this machine alone.\n", nodePrefix, seed)
		if err != nil && errs.KindOf(err) != errs.Exists {
			return nil, err
		}
		key, err = LoadNodeKey(file)
	}
	return key, err
}

// LoadNodeKey reads the key of a node, and makes none.
// Kinds: FileNotFound, KeyManagement, IO.
func LoadNodeKey(file string) (ed25519.PrivateKey, error) {
	b, err := read(file, private)
	if err != nil {
		return nil, err
	}
	seed, err := parseSecret(file, nodePrefix, b, "move it away: the node then gets a new key and peer id")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed[:]), nil
}

func writeSecret(file, head, prefix string, secret [32]byte) error {
	text, err := encodeSecret(prefix, secret)
	if err != nil {
		return errs.New(errs.KeyManagement, "write %s: %w", file, err)
	}
	if err := durable.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return writeNew(file, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s%s\n", head, text)
		return err
	})
}

// writeNew writes a secret to a file that is not there yet.
func writeNew(file string, write func(io.Writer) error) error {
	err := durable.WriteFile(file, 0o600, false, write)
	if errors.Is(err, fs.ErrExist) {
		return errs.WithHint(errs.New(errs.Exists, "%s exists already", file), "name a file that does not exist")
	}
	return err
}

func encodeSecret(prefix string, secret [32]byte) (string, error) {
	words, err := bech32.ConvertBits(append([]byte{fileVersion}, secret[:]...), 8, 5, true)
	if err != nil {
		return "", err
	}
	text, err := bech32.EncodeM(prefix, words)
	return strings.ToUpper(text), err
}

// parseSecret finds the one secret in a file of comments and blank lines.
// Its errors never have the secret in them; the hint is what to do about a
// file that has none.
func parseSecret(file, prefix string, b []byte, hint string) (secret [32]byte, err error) {
	bad := func(why string) error {
		return errs.WithHint(errs.New(errs.KeyManagement, "%s: %s", file, why), "%s", hint)
	}
	var text string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if text != "" {
			return secret, bad("more than one key in it")
		}
		text = line
	}
	got, words, version, err := bech32.DecodeNoLimitWithVersion(text)
	if err != nil || version != bech32.VersionM {
		return secret, bad("no key in it, or a damaged one")
	}
	raw, err := bech32.ConvertBits(words, 5, 8, false)
	if err != nil || got != prefix || len(raw) < 1 {
		return secret, bad("no key of this kind in it")
	}
	if raw[0] > fileVersion {
		return secret, errs.WithHint(bad(fmt.Sprintf("a key of version %d, this program knows %d", raw[0], fileVersion)),
			"update datamesh: this was written by a newer version")
	}
	if raw[0] != fileVersion || len(raw) != 1+len(secret) {
		return secret, bad("no key in it, or a damaged one")
	}
	copy(secret[:], raw[1:])
	return secret, nil
}

// anyMode lets a key file have whatever permissions.
func anyMode(fs.FileInfo) bool { return true }

// read returns a key file. Its permissions must be as allowed says.
func read(file string, allowed func(fs.FileInfo) bool) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.FileNotFound, "%s does not exist", file)
	}
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	if !allowed(info) {
		return nil, errs.WithHint(errs.New(errs.KeyManagement, "%s has mode %04o: others may read it", file, info.Mode().Perm()),
			"chmod 600 %s", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	if len(b) > maxFile {
		return nil, errs.New(errs.KeyManagement, "%s is too large for keys", file)
	}
	return b, nil
}
