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

// program returns the path of datamesh as its users run it, without the race
// detector. The first caller builds it.
var program = sync.OnceValues(func() (exe string, err error) {
	if programDir, err = os.MkdirTemp("", "datamesh-program-"); err != nil {
		return "", err
	}
	exe = filepath.Join(programDir, "datamesh")
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
