package main

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"datamesh/internal/crypt"
	"datamesh/internal/step"
)

// TestMain lets the scripts, and a demo, run this test binary as datamesh.
func TestMain(m *testing.M) {
	// They wait as much as they work, so that half as many more run at once than go test has
	// by itself, unless it is told how many.
	flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)*3/2))
	testscript.Main(cleaned{m}, map[string]func(){"datamesh": func() {
		completionTime, askNodeTime = time.Minute, 30*time.Second // others may use this machine too
		crypt.WorkFactor = 4
		if dir := os.Getenv(stepsDir); dir != "" {
			step.Reached = func(name string) { reached(dir, name) }
		}
		main()
	}})
}

// stepsDir is the variable that names a directory in which a process writes
// down which steps it reaches, and finds the one at which it is to die.
const (
	stepsDir     = "TEST_DATAMESH_STEPS"
	stepsReached = "reached"
	stepToDieAt  = "die"
)

// reached writes a step down, and kills this process, as a power cut does, if
// it is to die there.
func reached(dir, name string) {
	f, err := os.OpenFile(filepath.Join(dir, stepsReached), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(name + "\n"); err != nil {
		panic(err)
	}
	if at, err := os.ReadFile(filepath.Join(dir, stepToDieAt)); err != nil || string(at) != name {
		return
	}
	if self, err := os.FindProcess(os.Getpid()); err != nil || self.Kill() != nil {
		panic("this process does not die")
	}
	select {} // until it has
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATAMESH_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("DATAMESH_MESH_LISTEN", "127.0.0.1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits CODE COMMAND… runs a command that ends with that status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	if got != args[0] {
		ts.Fatalf("%v exited with %s, want %s", args[1:], got, args[0])
	}
}
