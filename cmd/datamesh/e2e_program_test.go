package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programDir holds the program once a test has had it built.
var programDir string

// theProgram returns the path of datamesh as its users run it: without the race
// detector, which tests of processes have no use for, since those share no memory
// with the test. TEST_DATAMESH_PROGRAM=race has it built with the detector; then a
// process that finds a race ends. With TEST_DATAMESH_PROGRAM=none all tests that
// need it are skipped.
func theProgram(t testing.TB) string {
	t.Helper()
	if os.Getenv(programVariable) == "none" {
		t.Skip(withoutProgram)
	}
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

const (
	programVariable = "TEST_DATAMESH_PROGRAM"
	withoutProgram  = "NOT TESTED: it runs datamesh, and TEST_DATAMESH_PROGRAM is none"
)

// program has the first caller build it.
var program = sync.OnceValues(func() (exe string, err error) {
	if programDir, err = os.MkdirTemp("", "datamesh-program-"); err != nil {
		return "", err
	}
	exe = filepath.Join(programDir, "datamesh")
	if os.Getenv(programVariable) == "race" {
		return exe, build(exe, "-race", "-gcflags=modernc.org/...=-race=false -d=checkptr=0") // not SQLite as Go, which would be most of the time
	}
	return exe, build(exe)
})

// build builds the program, with more flags if there are any.
func build(exe string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", exe}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %v\n%s", err, out)
	}
	return nil
}

// cleaned removes the program when all tests have run.
type cleaned struct{ *testing.M }

func (c cleaned) Run() int {
	defer func() { os.RemoveAll(programDir) }() // "" is nothing
	return c.M.Run()
}
