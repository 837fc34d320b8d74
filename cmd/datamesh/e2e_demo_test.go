//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDemoShowsItAndLeavesNothing(t *testing.T) {
	t.Parallel()
	demo, tmp := demoCommand(t, noiseFile(t, "x", 1, 3<<20))
	report := result[demoReport](t, start(t, demo).wait(t))
	if !report.Same || report.Nodes != 6 {
		t.Errorf("got %+v, want 6 nodes and the same bytes", report)
	}
	var steps []string
	for _, s := range report.Steps {
		steps = append(steps, s.Name)
		if s.Detail == "" || s.Seconds < 0 {
			t.Errorf("step %+v tells nothing", s)
		}
		if s.Name == "put" && (s.Size != 3<<20 || s.Survives == nil || *s.Survives != demoLost) {
			t.Errorf("step %+v, want 3 MiB that survive as many losses as there are", s)
		}
	}
	if got, want := strings.Join(steps, " "), "start meet put kill identity get compare"; got != want {
		t.Errorf("steps: got %s, want %s", got, want)
	}
	leavesNothing(t, tmp)
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	demo, tmp := demoCommand(t)
	sockets, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	long := filepath.Join(tmp, strings.Repeat("x", 100)) // too long for sockets, which lie elsewhere then
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	demo.Env = append(demo.Env, "TMPDIR="+long, "XDG_RUNTIME_DIR="+sockets)
	task := start(t, demo)
	eventually(t, "the nodes of the demo store shards", func() bool {
		stored, err := filepath.Glob(filepath.Join(long, "*", "*", "store", "shards", "*", "*"))
		return err == nil && len(stored) > 0 || !task.running()
	})
	task.signal(t, os.Interrupt)
	if o := task.wait(t); o.code != 130 {
		t.Errorf("exited with %d, want 130: %s", o.code, o.stderr)
	}
	leavesNothing(t, long)
	leavesNothing(t, filepath.Join(sockets, "datamesh"))
}

// demoCommand prepares a demo whose homes are in a directory of its own.
func demoCommand(t *testing.T, args ...string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	exe := theProgram(t)
	var err error
	if tmp, err = os.MkdirTemp("", "demo"); err != nil { // t.TempDir's are too long for sockets
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	cmd = exec.Command(exe, append([]string{"demo", "--json"}, args...)...)
	cmd.Env = append(demoEnv(), "TMPDIR="+tmp)
	return cmd, tmp
}

// leavesNothing checks that the directory is empty, and that there is no
// process that works there.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		line, _ := os.ReadFile(file) // it may just have ended
		if bytes.Contains(line, []byte(dir)) {
			t.Errorf("left the process %q", line)
		}
	}
}
