//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"

	"datamesh/internal/keyring"
)

// goldenIdentity is the identity of the root 0, 1, … 31.
const goldenIdentity = "DATAMESH-ROOT-1QYQQZQSRQSZSVPCGPY9QKRQDPC83QYGJZV2P29SHRQV35XCUR50P7XY047U\n"

// drilled starts keys verify on a terminal, in a home of the golden identity,
// and returns its words.
func drilled(t *testing.T) (s *screen, home string, phrase keyring.Phrase) {
	t.Helper()
	home = t.TempDir()
	identity := filepath.Join(home, "identity")
	if err := os.WriteFile(identity, []byte(goldenIdentity), 0o600); err != nil {
		t.Fatal(err)
	}
	phrase, err := keyring.At(identity).Words()
	if err != nil {
		t.Fatal(err)
	}
	return onScreen(t, command(t, home, "keys", "verify")), home, phrase
}

var prompted = regexp.MustCompile(`word (\d+) of 24: $`)

// asked waits for the next question, and until the terminal shows nothing that
// is typed, and returns the position that is asked for.
func (s *screen) asked(t *testing.T) (position int) {
	t.Helper()
	s.shows(t, " of 24: ")
	s.mu.Lock()
	m := prompted.FindSubmatch(s.seen[:s.mark])
	s.mu.Unlock()
	if m == nil {
		t.Fatalf("no question in %q", s.seen)
	}
	position, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the terminal is silent", func() bool { return !s.echoes(t) })
	return position
}

// echoes reports whether the terminal is as a fresh one, which shows what is
// typed.
func (s *screen) echoes(t *testing.T) bool {
	t.Helper()
	ours, its, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer its.Close()
	return s.mode(t) == (&screen{tty: ours}).mode(t)
}

// all returns everything that the screen has shown.
func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.seen)
}

// isVerified reports whether the home notes that its words were verified.
func isVerified(t *testing.T, home string) bool {
	t.Helper()
	at, err := keyring.At(filepath.Join(home, "identity")).Verified()
	if err != nil {
		t.Fatal(err)
	}
	return !at.IsZero()
}

func TestVerifyAsksForWordsAndShowsNone(t *testing.T) {
	s, home, phrase := drilled(t)
	last := 0
	for i := range drillWords {
		position := s.asked(t)
		if position <= last || position > len(phrase) {
			t.Errorf("word %d is asked for after word %d", position, last)
		}
		last = position
		word := phrase[position-1]
		switch i {
		case 1: // not at once
			s.types(t, "zoo"+enter)
			s.shows(t, fmt.Sprintf("word %d of this home's identity is another", position))
			s.asked(t)
		case 2:
			s.types(t, "xylophone"+enter)
			s.shows(t, "that is not in the list of words; no word is near it")
			s.asked(t)
		case 3:
			word = fmt.Sprintf("%d. %s", position, strings.ToUpper(word))
		case 4:
			word = word[:min(len(word), 4)]
		}
		s.types(t, word+enter)
	}
	s.shows(t, "these 6 are words of your identity dmowner1pzy84")
	if o := s.task.wait(t); o.code != 0 {
		t.Errorf("exit status %d", o.code)
	}
	if !isVerified(t, home) {
		t.Error("the home does not note it")
	}
	for _, word := range append(phrase[:], "zoo", "xylophone") {
		if regexp.MustCompile(`(?i)\b` + word + `\b`).MatchString(s.all()) {
			t.Errorf("the screen shows %s: %q", word, s.all())
		}
	}
}

func TestVerifyTakesAllWordsAtOnce(t *testing.T) {
	s, home, phrase := drilled(t)
	s.asked(t)
	s.types(t, strings.Join(phrase[:], " ")+enter)
	s.shows(t, "these are the words of your identity dmowner1pzy84")
	if o := s.task.wait(t); o.code != 0 || !isVerified(t, home) {
		t.Errorf("exit status %d, noted: %t", o.code, isVerified(t, home))
	}
}

func TestVerifyGivesUp(t *testing.T) {
	for what, tt := range map[string]struct {
		types func(*testing.T, *screen)
		says  string
		code  int
	}{
		"after three wrong words": {func(t *testing.T, s *screen) {
			for range drillTries {
				s.asked(t)
				s.types(t, "zoo"+enter)
			}
		}, "this home's identity is another", 6},
		"when words of another identity are typed": {func(t *testing.T, s *screen) {
			s.asked(t)
			s.types(t, strings.Repeat("abandon ", 23)+"art"+enter)
		}, "these are the words of another identity", 6},
		"on an interrupt": {func(t *testing.T, s *screen) {
			s.asked(t)
			s.types(t, "aba"+ctrlC)
		}, "interrupted", 130},
	} {
		t.Run(what, func(t *testing.T) {
			s, home, _ := drilled(t)
			tt.types(t, s)
			s.shows(t, tt.says)
			if o := s.task.wait(t); o.code != tt.code {
				t.Errorf("exit status %d, want %d", o.code, tt.code)
			}
			if !s.echoes(t) {
				t.Error("the terminal is left silent")
			}
			if isVerified(t, home) {
				t.Error("the home notes that the words were verified")
			}
			if strings.Contains(s.all(), "abandon") || strings.Contains(s.all(), "zoo") {
				t.Errorf("the screen shows what was typed: %q", s.all())
			}
		})
	}
}

// Who has no mesh to recover from is told so before all words are typed.
func TestRecoverAsksForNoWordsInVain(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	s := onScreen(t, command(t, home, "recover"))
	s.shows(t, "this home knows no mesh")
	if o := s.task.wait(t); o.code != 5 {
		t.Errorf("exit status %d, want 5", o.code)
	}
	if strings.Contains(s.all(), "24 words") {
		t.Errorf("the screen shows %q", s.all())
	}
	s = onScreen(t, command(t, home, "recover", "--bootstrap-peer", "12D3KooWAGKtUqCzFZb7RD3PJduCnpwvDNkuvnXM7ZrgXtF2Xqxk", "--bootstrap-addr", "/ip4/127.0.0.1/tcp/1"))
	s.shows(t, "the 24 words, which are not shown: ")
	s.types(t, "abandon"+enter)
	if o := s.task.wait(t); o.code != 6 {
		t.Errorf("exit status %d, want 6", o.code)
	}
}

func TestInitShowsWordsOnATerminal(t *testing.T) {
	home := t.TempDir()
	s := onScreen(t, command(t, home, "keys", "init"))
	if o := s.task.wait(t); o.code != 0 {
		t.Fatalf("exit status %d", o.code)
	}
	s.shows(t, "next: datamesh keys verify")
	phrase, err := keyring.At(filepath.Join(home, "identity")).Words()
	if err != nil {
		t.Fatal(err)
	}
	shown, _, _ := strings.Cut(s.all(), "notice:")
	if root, err := keyring.ParsePhrase(shown); err != nil || root.Phrase() != phrase {
		t.Errorf("the screen does not show the words: %v in %q", err, shown)
	}
}
