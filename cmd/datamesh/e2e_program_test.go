package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// program returns the path of datamesh as its users run it, without the race
// detector. The first caller builds it.
var program = sync.OnceValues(func() (string, error) {
	if err := os.Mkdir(programDir(), 0o700); err != nil {
		return "", err
	}
	exe := filepath.Join(programDir(), "datamesh")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", exe, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return exe, nil
})

// programDir holds nothing but the program of this test process.
func programDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("datamesh-program-%d", os.Getpid()))
}

// cleanTests removes the program when all tests have run.
type cleanTests struct{ *testing.M }

func (c cleanTests) Run() int {
	defer os.RemoveAll(programDir())
	return c.M.Run()
}
