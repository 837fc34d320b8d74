package main

import (
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh/internal/errs"
)

var updateUnit = flag.Bool("update-unit", false, "write the units in testdata anew")

var units = map[string]unit{
	"system.service": {System: true, Program: "/usr/local/bin/datamesh", Verb: "service", Home: stateHome,
		Bootstrap: "12D3KooWK7Ta@/ip4/192.0.2.1/tcp/40871"},
	"user.service": {Program: "/opt/100% mine/data$mesh", Verb: "bootstrap", Home: `/home/ann/a "home"`},
}

func TestMachinesServiceNeedsAProgramThatItCanRead(t *testing.T) {
	for _, c := range []struct {
		program string
		system  bool
		hidden  bool
	}{
		{"/root/bin/datamesh", true, true},
		{"/home/ann/datamesh", true, true},
		{"/run/user/1000/datamesh", true, true},
		{"/usr/local/bin/datamesh", true, false},
		{"/rooted/datamesh", true, false},
		{"/home/ann/datamesh", false, false},
	} {
		err := unit{System: c.system, Program: c.program}.hidden()
		if c.hidden != (errs.KindOf(err) == errs.Invalid) || c.hidden != strings.Contains(errs.HintFor(err), "/usr/local/bin/datamesh") {
			t.Errorf("%s, of the machine %v: %v, hint %q", c.program, c.system, err, errs.HintFor(err))
		}
	}
}

func TestUnitsAreTheseAndSystemdTakesThem(t *testing.T) {
	for name, u := range units {
		text, err := u.text()
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "units", name)
		if *updateUnit {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || text != string(want) {
			t.Errorf("%s is now (%v)\n%s", name, err, text)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not installed, so systemd's word on the units is missing")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "datamesh")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, u := range units {
		u.Program = program
		text, err := u.text()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, unitName)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		manager := "--user"
		if u.System {
			manager = "--system"
		}
		verify := exec.Command(analyze, manager, "--man=no", "--recursive-errors=no", "verify", path)
		verify.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		out, err := verify.CombinedOutput()
		if err != nil || bytes.Contains(out, []byte(unitName)) {
			t.Errorf("systemd-analyze verify of %s: %v\n%s", name, err, out)
		}
	}
}

func TestUnitsQuoteWhatSystemdWouldTakeForItself(t *testing.T) {
	for in, want := range map[string]string{
		"/a":       "/a",
		"/a b":     `"/a b"`,
		`/a"b`:     `"/a\"b"`,
		`/a\b`:     `"/a\\b"`,
		"/100%":    "/100%%",
		"/$HOME":   "/$$HOME",
		"/a;b":     `"/a;b"`,
		"/it's":    `"/it's"`,
		"/Zürich/": "/Zürich/",
	} {
		if got := unitQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	if _, err := (unit{Home: "/a\nExecStartPre=/bin/evil"}).text(); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a home with a line feed: %v, want Invalid", err)
	}
}

// listen makes a socket as systemd has it for its services.
func listenNotify(t *testing.T) (path string, read func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, func() string {
		t.Helper()
		b := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(guard))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestServiceTellsItsSupervisor(t *testing.T) {
	t.Parallel()
	path, next := listenNotify(t)
	m := emptyMesh(t, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	x := m.add(t, "bootstrap", "--port", "0")
	x.start(t)
	if got := next(); !strings.HasPrefix(got, "READY=1\nSTATUS=peer "+x.ready.PeerID.String()) {
		t.Errorf("at first it says %q", got)
	}
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("while it lives it says %q", got)
		}
	}
	x.task.signal(t, syscall.SIGTERM)
	got := next()
	for got == "WATCHDOG=1" {
		got = next()
	}
	if !strings.HasPrefix(got, "STOPPING=1\n") {
		t.Errorf("on SIGTERM it says %q", got)
	}
	if o := x.task.wait(t); o.code != 0 {
		t.Errorf("it exited with %d: %s", o.code, o.stderr)
	}
}

func TestWatchdogHearsNothingOfADeadNode(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := alive(ctx, filepath.Join(t.TempDir(), "none"), time.Minute); err == nil {
		t.Error("nobody listens, and it lives")
	}
}
