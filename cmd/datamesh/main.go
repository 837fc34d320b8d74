// Command datamesh stores files on a mesh of peers: sealed on this machine,
// cut into shards of which any few may be lost, and read back from whichever
// peers are left.
//
// Each command is a file of this package. It uses the running node of the home
// where there is one, and else takes part in the mesh itself for as long as it
// runs. Errors are printed, and the exit status is chosen, in cli.execute alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// softMemory is what the garbage collector tries to stay under. What puts and gets hold
// at once is bounded and less, but with encoders of "--compress max", which take 50 MiB
// each; without a limit the heap may treble before garbage is collected.
const softMemory = 160 << 20

// garbage is how much may come to be beside what lives before it is collected, in
// percent: what lives is mostly little, and a tenth of a busy node's time went into
// looking through it.
const garbage = 200

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

// An exitStatus is the error of a command whose errors were printed already.
type exitStatus int

func (s exitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// run executes the command line of this process and returns its exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	c := &cli{in: stdin, out: stdout, err: stderr}
	c.completing = len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd)
	return c.execute(ctx, c.root(), args)
}

// execute executes a command line and returns its exit status. What goes wrong
// is printed.
func (c *cli) execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if ctx.Err() != nil {
		err = interruption(err)
	}
	// An error in the flags may come before --json was read.
	c.json = c.json || slices.Contains(args, "--json")
	return c.report(err)
}

// report prints an error and returns its exit status.
func (c *cli) report(err error) int {
	if c.json {
		writeJSON(c.err, api.ProblemOf(err)) // if this fails nobody listens
	} else {
		c.printError(err)
	}
	return errs.ExitCode(err)
}

func (c *cli) printError(err error) {
	fmt.Fprintf(c.err, "datamesh: %s\n", plain(c.message(err)))
	if hint := errs.HintFor(err); hint != "" {
		fmt.Fprintf(c.err, "hint: %s\n", plain(hint))
	}
	if c.verbose {
		printTree(c.err, err, 1)
	}
}

// message returns an error in one line. How Go says that time was up tells
// people nothing that stands not before it.
func (c *cli) message(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		if !c.verbose {
			lines[i] = cutTails(line)
		}
	}
	return strings.Join(lines, "; ")
}

func cutTails(line string) string {
	for {
		short := line
		for _, tail := range []error{context.DeadlineExceeded, context.Canceled} {
			short = strings.TrimSuffix(short, ": "+tail.Error())
		}
		if short == line {
			return line
		}
		line = short
	}
}

// printTree writes an error and those that it wraps, each with its type.
func printTree(w io.Writer, err error, depth int) {
	fmt.Fprintf(w, "%s%s %T\n", strings.Repeat("  ", depth), plain(fmt.Sprintf("%q", err.Error())), err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			printTree(w, inner, depth+1)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			printTree(w, inner, depth+1)
		}
	}
}
