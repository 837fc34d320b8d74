package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"datamesh/internal/backup"
	"datamesh/internal/errs"
)

func TestTerminalTakesTextAndNoCommands(t *testing.T) {
	var out bytes.Buffer
	if _, err := (&terminal{w: &out}).Write([]byte("Grüße\tand\r\nlines\n")); err != nil {
		t.Errorf("text: %v", err)
	}
	halves := &terminal{w: &out}
	if _, err := halves.Write([]byte("a\xc2")); err != nil {
		t.Errorf("the half of a character: %v", err)
	}
	if _, err := halves.Write([]byte("\x9b2J")); !errors.Is(err, errs.Invalid) {
		t.Errorf("a control character in two writes: got %v, want Invalid", err)
	}
	for _, s := range []string{"\x00", "ELF\x02", "\x1b[2J", "\x7f", "\u009b2J"} {
		out.Reset()
		if _, err := (&terminal{w: &out}).Write([]byte(s)); !errors.Is(err, errs.Invalid) || out.Len() > 0 {
			t.Errorf("%q: got %v and %q, want Invalid and nothing", s, err, out.String())
		}
	}
}

func TestJSONHasNoControlCharacters(t *testing.T) {
	var out bytes.Buffer
	name := "a\x1b\x7f\u009b2Jé<"
	if err := writeJSON(&out, name); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), `"a\u001b\u007f\u009b2Jé<"`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != name {
		t.Errorf("got %q back, %v", back, err)
	}
}

func TestTablesAreAlignedAndPlain(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out)
	row(table, "NAME", "SIZE")
	row(table, "evil\x1b[2J\nname", size(1536))
	row(table, "b", size(0))
	table.Flush()
	want := "NAME           SIZE\nevil\ufffd[2J\ufffdname  1.5 KiB\nb              0 B\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLongNamesAreShortenedInTables(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"", ""},
		{strings.Repeat("ü", widest), strings.Repeat("ü", widest)},
		{strings.Repeat("ü", widest+1), strings.Repeat("ü", 41) + "…" + strings.Repeat("ü", 23)},
		{strings.Repeat("a", 4092) + ".jpg", strings.Repeat("a", 41) + "…" + strings.Repeat("a", 19) + ".jpg"},
	} {
		got := shortened(c.name)
		if got != c.want {
			t.Errorf("of %d bytes: got %q, want %q", len(c.name), got, c.want)
		}
		if got != c.name && utf8.RuneCountInString(got) <= widest {
			t.Errorf("%q could be a whole name", got)
		}
	}
}

func TestNearestAddrIsTheOneToType(t *testing.T) {
	const (
		public   = "/ip4/192.0.2.7/tcp/1"
		public6  = "/ip6/2001:db8::1/tcp/1"
		quic     = "/ip4/192.0.2.7/udp/1/quic-v1"
		link     = "/ip6/fe80::1/tcp/1"
		loopback = "/ip4/127.0.0.1/tcp/1"
		local6   = "/ip6/::1/tcp/1"
	)
	order := []string{public, public6, quic, link, loopback, local6}
	for i, want := range order {
		rest := slices.Clone(order[i:])
		slices.Reverse(rest)
		if got := nearestAddr(rest); got != want {
			t.Errorf("of %v: got %s, want %s", rest, got, want)
		}
	}
}

// A path is named once, also if what is wrong with it has the same word.
func TestFailuresNameTheirPaths(t *testing.T) {
	var got bytes.Buffer
	c := &cli{err: &got}
	c.warnFailures(3, []backup.Failure{{Path: "sock", Error: "a socket has no content"}, {Path: "a", Error: "a: permission denied"}, {Path: "b", Error: "b is there, and not the same"}})
	want := "warning: sock: a socket has no content\nwarning: a: permission denied\nwarning: b is there, and not the same\n"
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestInterruptedBackupSaysHowToGoOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := backupEnded(ctx, "d", errors.New("failed")); errs.HintFor(interruption(err)) != "" {
		t.Errorf("not interrupted: %v, %s", err, errs.HintFor(err))
	}
	cancel()
	if got := errs.HintFor(interruption(backupEnded(ctx, "d", ctx.Err()))); !strings.HasPrefix(got, "type the same again: ") {
		t.Errorf("got the hint %q", got)
	}
}
