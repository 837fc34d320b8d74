// Command datamesh stores files on a mesh of peers: sealed on this machine,
// cut into shards of which any few may be lost, and read back from whichever
// peers are left.
//
// Each command is a file of this package. It uses the running node of the home
// where there is one, and else takes part in the mesh itself for as long as it
// runs. Errors are printed, and the exit status is chosen, in [run] alone.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"datamesh/internal/api"
	"datamesh/internal/errs"
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// softMemory is what the garbage collector tries to stay under. What a put or
// a get holds at once is bounded and far less; without a limit the heap may
// double before garbage is collected.
const softMemory = 160 << 20

// interrupted is the error of a command that the user has stopped.
type interrupted struct{}

func (interrupted) Error() string { return "interrupted" }
func (interrupted) Unwrap() error { return context.Canceled }

// interruption returns the error of a command that was stopped, with what it
// says can be done.
func interruption(err error) error {
	if hint := errs.HintFor(err); hint != "" && errs.KindOf(err) == errs.Other {
		return errs.WithHint(interrupted{}, "%s", hint)
	}
	return interrupted{}
}

// run executes a command line and returns its exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	c := &cli{in: stdin, out: stdout, err: stderr}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = interruption(err)
	}
	// An error in the flags may come before --json was read.
	if c.json || slices.Contains(args, "--json") {
		writeJSON(stderr, api.ProblemOf(err)) // if this fails nobody listens
	} else {
		printError(stderr, err)
	}
	return errs.ExitCode(err)
}

func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "datamesh: %s\n", plain(strings.ReplaceAll(err.Error(), "\n", "; ")))
	if hint := errs.HintFor(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", plain(hint))
	}
}
