//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh/internal/api"
)

// guard bounds every wait of the end-to-end tests. Whoever reaches it hangs.
const guard = 3 * time.Minute

// A task is a process that runs beside the test.
type task struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer // unless the command has a place for it
	stderr bytes.Buffer // likewise
	ended  chan struct{}
}

// start starts a process. It is killed when the test ends, if it has not
// ended before.
func start(t testing.TB, cmd *exec.Cmd) *task {
	t.Helper()
	k := &task{cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &k.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &k.stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(k.ended)
		cmd.Wait() // what came of it is in cmd.ProcessState
	}()
	t.Cleanup(k.kill)
	return k
}

// kill ends the process as a power cut does.
func (k *task) kill() {
	k.cmd.Process.Kill() // its error is that the process has ended
	<-k.ended
}

func (k *task) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := k.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%v: %v", k.cmd.Args, err)
	}
}

// running reports whether the process has not ended.
func (k *task) running() bool {
	select {
	case <-k.ended:
		return false
	default:
		return true
	}
}

// An outcome is how a command ended.
type outcome struct {
	args           []string
	stdout, stderr []byte
	code           int // -1: by a signal
}

// wait waits until the process ends.
func (k *task) wait(t testing.TB) outcome {
	t.Helper()
	select {
	case <-k.ended:
	case <-time.After(guard):
		k.cmd.Process.Signal(syscall.SIGQUIT) // tells where it hangs
		select {
		case <-k.ended:
		case <-time.After(10 * time.Second):
			k.kill()
		}
		t.Fatalf("%v hangs: %s", k.cmd.Args, &k.stderr)
	}
	if said := k.stderr.String(); strings.Contains(said, "DATA RACE") || strings.Contains(said, "\ngoroutine ") {
		if trial, ok := t.(*trial); ok { // it does not come right by another run
			t = trial.TB
		}
		t.Errorf("%v: %s", k.cmd.Args, said)
	}
	return outcome{k.cmd.Args, k.stdout.Bytes(), k.stderr.Bytes(), k.cmd.ProcessState.ExitCode()}
}

// result returns the document of a command that must have succeeded.
func result[T any](t testing.TB, o outcome) (doc T) {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
	}
	return document[T](t, o.stdout)
}

// document reads what a command has printed, however it ended.
func document[T any](t testing.TB, b []byte) (doc T) {
	t.Helper()
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return doc
}

// problem returns the error of a command that must have failed with the code.
func problem(t testing.TB, o outcome, code int) (p api.Problem) {
	t.Helper()
	if o.code != code {
		t.Fatalf("%v exited with %d, want %d: %s%s", o.args, o.code, code, o.stdout, o.stderr)
	}
	if err := json.Unmarshal(lastLine(o.stderr), &p); err != nil || p.Code != code {
		t.Fatalf("%v: %v, want an error of code %d in %q", o.args, err, code, o.stderr)
	}
	if len(o.stdout) > 0 {
		t.Errorf("%v failed, and printed %q", o.args, o.stdout)
	}
	return p
}

// eventually polls until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	eventuallyIn(t, guard, what, ok)
}

// patience bounds the waits for what a mesh does when it gets round to it.
const patience = 10 * time.Minute

// eventuallyIn polls until ok is true, for so long at most.
func eventuallyIn(t testing.TB, most time.Duration, what string, ok func() bool) {
	t.Helper()
	hang := time.NewTimer(most)
	defer hang.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-hang.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// comesTrue runs check until it finds nothing wrong: on a busy machine who lives may be
// silent for a moment. What check has found the last time is shown if it always finds
// something.
func comesTrue(t testing.TB, what string, check func(t testing.TB)) {
	t.Helper()
	var last *trial
	defer func() {
		for _, fault := range last.faults {
			t.Error(fault)
		}
	}()
	eventually(t, what, func() bool {
		last = &trial{TB: t}
		over := make(chan struct{})
		go func() {
			defer close(over)
			check(last)
		}()
		<-over
		return len(last.faults) == 0
	})
}

// A trial is a test that may be run again: it keeps what it finds wrong.
type trial struct {
	testing.TB
	faults []string
}

func (t *trial) Error(args ...any) { t.faults = append(t.faults, fmt.Sprint(args...)) }

func (t *trial) Errorf(format string, args ...any) { t.Error(fmt.Sprintf(format, args...)) }

func (t *trial) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

func (t *trial) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// onlyInFull skips a test that takes more than half a minute, unless all are
// wanted.
func onlyInFull(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TEST_DATAMESH_FULL") != "1" {
		t.Skipf("NOT TESTED: %s: set TEST_DATAMESH_FULL=1; it takes minutes", what)
	}
}
