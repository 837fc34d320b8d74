package main

import (
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A completion that hangs is given up, with what it has found until then.
func TestCompletionIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		hang := make(chan struct{})
		got, directive := inTime(t.Context(), func(_ context.Context, offer func(value, about string) bool) error {
			offer("one", "\x1b[2J first")
			offer("not\nthis", "")
			offer("two", "")
			<-hang
			offer("three", "")
			return nil
		})
		if diff := cmp.Diff([]cobra.Completion{"one\t\uFFFD[2J first", "two"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != completionTime {
			t.Errorf("it took %v of the test's own time", took)
		}
		if directive&cobra.ShellCompDirectiveNoFileComp == 0 {
			t.Error("files are offered")
		}
		close(hang) // the goroutine ends, as nobody takes what it offers
	})
}

// A command that says nothing of its arguments, or of the value of a flag, has
// the shell offer files.
func TestEveryCommandSaysWhatCompletesIt(t *testing.T) {
	c := &cli{completing: true, out: io.Discard, err: io.Discard}
	for _, cmd := range commands(c.root()) {
		if cmd.ValidArgsFunction == nil {
			t.Errorf("%s does not say how its arguments are completed", cmd.CommandPath())
		}
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if _, ok := cmd.GetFlagCompletionFunc(f.Name); !ok {
				t.Errorf("%s does not say how --%s is completed", cmd.CommandPath(), f.Name)
			}
		})
	}
}

func TestCompletionIsBounded(t *testing.T) {
	got, _ := inTime(t.Context(), func(_ context.Context, offer func(value, about string) bool) error {
		for offer("x", "") {
		}
		return nil
	})
	if len(got) != maxCandidates {
		t.Errorf("%d candidates, want %d", len(got), maxCandidates)
	}
}

// Peers come from the node, which does not count itself, or without one from
// what the home remembers, which does.
func TestPeersAreCompletedWithAndWithoutANode(t *testing.T) {
	dir := t.TempDir()
	begun := func(word string, line ...string) []string {
		t.Helper()
		args := append([]string{"__completeNoDesc", "--home", filepath.Join(dir, "b")}, line...)
		out, err := command(t, filepath.Join(dir, "nowhere"), append(args, word)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		list := strings.Fields(string(out))
		return slices.Sorted(slices.Values(list[:len(list)-1])) // without the directive
	}
	offered := func(line ...string) []string { t.Helper(); return begun("", line...) }
	first, a := serving(t, command(t, filepath.Join(dir, "a"), "bootstrap", "--port", "0"))
	second, b := serving(t, command(t, filepath.Join(dir, "b"), "service", "--port", "0",
		"--bootstrap-peer", a.PeerID.String(), "--bootstrap-addr", nearestAddr(a.Addrs)))

	if diff := cmp.Diff([]string{a.PeerID.String()}, offered("--bootstrap-peer")); diff != "" {
		t.Errorf("of the node (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{a.PeerID.String()}, offered("bandwidth")); diff != "" {
		t.Errorf("to measure (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{a.PeerID.String()}, offered("audit")); diff != "" {
		t.Errorf("to audit (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{a.PeerID.String() + "@" + nearestAddr(a.Addrs)}, offered("networks", "add", "work")); diff != "" {
		t.Errorf("to name (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(a.Addrs)), offered("--bootstrap-peer", a.PeerID.String(), "--bootstrap-addr")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	for _, cmd := range []*exec.Cmd{second, first} {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	both := slices.Sorted(slices.Values([]string{a.PeerID.String(), b.PeerID.String()}))
	if diff := cmp.Diff(both, offered("--bootstrap-peer")); diff != "" {
		t.Errorf("of the home (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{b.PeerID.String()}, begun(b.PeerID.String(), "--bootstrap-peer")); diff != "" {
		t.Errorf("of those that begin so (-want +got):\n%s", diff)
	}
}
