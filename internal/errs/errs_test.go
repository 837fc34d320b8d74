package errs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// What scripts and other versions rely on: the numbers go over the wire, the
// names into JSON, and the exit codes are those of the command line.
func TestKindsKeepTheirNumbersNamesAndExitCodes(t *testing.T) {
	want := []struct {
		kind Kind
		name string
		exit int
	}{
		{0, "Other", 1},
		{1, "IO", 1}, {2, "Network", 5}, {3, "Database", 1}, {4, "Configuration", 10},
		{5, "Encryption", 1}, {6, "Decryption", 6}, {7, "KeyManagement", 6}, {8, "Authentication", 6},
		{9, "Storage", 1}, {10, "FileNotFound", 4}, {11, "Share", 1}, {12, "Backup", 1},
		{13, "Serialization", 1}, {14, "Encoding", 1}, {15, "Import", 1}, {16, "Export", 1},
		{17, "Unavailable", 5}, {18, "Full", 12}, {19, "Exists", 1}, {20, "Invalid", 2}, {21, "Integrity", 7},
		{22, "NoNode", 8}, {23, "Locked", 11}, {24, "Partial", 3}, {25, "Degraded", 9}, {26, "Deleted", 1}, {27, "Refused", 1},
	}
	if len(want) != int(numKinds) {
		t.Errorf("%d kinds, %d are known here: add the new ones at the end", numKinds, len(want))
	}
	for _, w := range want {
		if w.kind.Name() != w.name || ByName(w.name) != w.kind || ExitCode(w.kind) != w.exit {
			t.Errorf("kind %d: got %s, by name %d, exit %d; want %s, exit %d",
				w.kind, w.kind.Name(), ByName(w.name), ExitCode(w.kind), w.name, w.exit)
		}
		if w.kind.Error() == "" || HTTPStatus(w.kind) < 200 || HTTPStatus(w.kind) > 599 {
			t.Errorf("kind %s: text %q, status %d", w.name, w.kind, HTTPStatus(w.kind))
		}
	}
}

func TestKindsOfANewerPeerAreOther(t *testing.T) {
	newer := Kind(200)
	err := New(newer, "strange")
	if KindOf(err) != Other || KindOf(newer) != Other || ExitCode(err) != 1 || Retryable(err) || newer.Error() != "error" ||
		ByName("Strange") != Other {
		t.Errorf("got %v, exit %d", KindOf(err), ExitCode(err))
	}
}

func TestKindOfIsTheOutermost(t *testing.T) {
	inner := New(Integrity, "shard 3")
	plain := errors.New("plain")
	for _, tt := range []struct {
		what string
		err  error
		want Kind
	}{
		{"nil", nil, Other},
		{"no kind", plain, Other},
		{"a kind itself", FileNotFound, FileNotFound},
		{"with context", fmt.Errorf("get: %w", inner), Integrity},
		{"classified again", New(Unavailable, "get: %w", inner), Unavailable},
		{"a bare kind over another", fmt.Errorf("%w: %w", Unavailable, inner), Unavailable},
		{"the first of those joined", errors.Join(plain, Full, inner), Full},
		{"deep in the first branch", errors.Join(fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)), Full), Integrity},
		{"a kind under a branch without one", errors.Join(errors.Join(plain, plain), inner), Integrity},
		{"with a hint", WithHint(inner, "try"), Integrity},
		{"a hint for no kind", WithHint(plain, "try"), Other},
	} {
		if got := KindOf(tt.err); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, got.Name(), tt.want.Name())
		}
	}
}

func TestIsFindsEveryKindAndCauseInTheTree(t *testing.T) {
	err := fmt.Errorf("get: %w", New(Unavailable, "3 shards: %w", errors.Join(New(Integrity, "x"), context.DeadlineExceeded)))
	for _, target := range []error{Unavailable, Integrity, context.DeadlineExceeded} {
		if !errors.Is(err, target) {
			t.Errorf("%v is not found in %v", target, err)
		}
	}
	if errors.Is(err, FileNotFound) {
		t.Error("a kind is found that is not there")
	}
	if !errors.Is(New(FileNotFound, "x"), fs.ErrNotExist) || !errors.Is(New(Exists, "x"), fs.ErrExist) ||
		errors.Is(New(Exists, "x"), fs.ErrNotExist) || errors.Is(New(IO, "x"), fs.ErrExist) {
		t.Error("FileNotFound and Exists, and they alone, are the errors of package fs")
	}
}

func TestTheTextIsTheMessageAlone(t *testing.T) {
	err := WithHint(New(Full, "put %s: %w", "a", errors.New("disk")), "free some space")
	if err.Error() != "put a: disk" {
		t.Errorf("got %q", err)
	}
}

func TestHintForPrefersWhatFitsTheCase(t *testing.T) {
	usual := kinds[Unavailable].hint
	own := WithHint(New(Unavailable, "x"), "wait for %d s", 3)
	for _, tt := range []struct {
		what string
		err  error
		want string
	}{
		{"the usual one of the kind", New(Unavailable, "x"), usual},
		{"that of a bare kind", fmt.Errorf("x: %w", Unavailable), usual},
		{"a given one", own, "wait for 3 s"},
		{"a given one under context", fmt.Errorf("put: %w", own), "wait for 3 s"},
		{"a given one under another kind", New(Full, "put: %w", own), "wait for 3 s"},
		{"the outer of two", WithHint(own, "go"), "go"},
		{"none", errors.New("x"), ""},
		{"none", nil, ""},
	} {
		if got := HintFor(tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

func TestRetryable(t *testing.T) {
	for _, k := range []Kind{Network, Unavailable, Locked, Storage} {
		if !Retryable(New(k, "x")) {
			t.Errorf("%s is not", k.Name())
		}
	}
	for _, err := range []error{nil, errors.New("x"), FileNotFound, Integrity, Decryption, Full, Deleted,
		New(Unavailable, "%w", context.Canceled)} {
		if Retryable(err) {
			t.Errorf("%v is", err)
		}
	}
}

func TestExitCodeOfSuccessAndInterruption(t *testing.T) {
	if got := ExitCode(nil); got != 0 {
		t.Errorf("no error: got %d", got)
	}
	if got := ExitCode(fmt.Errorf("put: %w", context.Canceled)); got != 130 {
		t.Errorf("interrupted: got %d", got)
	}
	if got := ExitCode(New(Partial, "stored: %w", context.Canceled)); got != 3 {
		t.Errorf("interrupted, and of a kind: got %d", got)
	}
}
