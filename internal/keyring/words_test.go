package keyring

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

func TestV1Words(t *testing.T) {
	want := readFile(t, "testdata/v1/words")
	if root, err := ParsePhrase(string(want)); err != nil || root != golden {
		t.Errorf("it is another identity, %v", err)
	}
	identity := write(t, "identity", readFile(t, "testdata/v1/identity"))
	file := filepath.Join(t.TempDir(), "words")
	if err := At(identity).WriteWords(file); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, file); !bytes.Equal(got, want) {
		t.Errorf("got %s", got)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	phrase, err := At(identity).Words()
	if err != nil || strings.Join(phrase[:], " ") != goldenWords {
		t.Errorf("other words, %v", err)
	}
}

func TestWordsAreWrittenOverNothing(t *testing.T) {
	identity := write(t, "identity", []byte(secret))
	file := write(t, "words", []byte("mine"))
	if err := At(identity).WriteWords(file); errs.KindOf(err) != errs.Exists || string(readFile(t, file)) != "mine" {
		t.Errorf("got %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for what, err := range map[string]error{
		"no identity":        At(missing).WriteWords(missing + "2"),
		"no directory":       At(identity).WriteWords(filepath.Join(missing, "words")),
		"words of none":      second(At(missing).Words()),
		"check without one":  At(missing).CheckWords(goldenWords),
		"check before words": At(missing).CheckWords("abandon"),
	} {
		if errs.KindOf(err) != errs.FileNotFound || errs.HintFor(err) == "" {
			t.Errorf("%s: got %v, hint %q", what, err, errs.HintFor(err))
		}
	}
	if _, err := os.Stat(missing + "2"); err == nil {
		t.Error("a file was made for no identity")
	}
}

func TestWordsOfAnotherAreToldFromMistypedOnes(t *testing.T) {
	identity := write(t, "identity", []byte(secret))
	if err := At(identity).CheckWords(strings.ToUpper(goldenWords)); err != nil {
		t.Error(err)
	}
	other := golden
	other[31] ^= 1
	for want, text := range map[errs.Kind]string{
		errs.Authentication: spell(other),
		errs.KeyManagement:  with(map[int]string{24: "zoo"}),
	} {
		err := At(identity).CheckWords(text)
		if errs.KindOf(err) != want || errs.ExitCode(err) != 6 {
			t.Errorf("got %v, want %s", err, want.Name())
		}
		if want == errs.Authentication && (!strings.Contains(err.Error(), other.ownerKey().String()) || !strings.Contains(errs.HintFor(err), golden.ownerKey().String())) {
			t.Errorf("%v, hint %q: whose they are is not said", err, errs.HintFor(err))
		}
		leaksNothing(t, err, Phrase(strings.Fields(text)))
	}
}
