package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/peterh/liner"
	"golang.org/x/term"

	"datamesh/internal/errs"
)

// errDropped is the error of a line that its author gave up with Ctrl-C.
var errDropped = errors.New("the line was given up")

// An editor reads lines from the terminal of this process. The terminal is in
// the editor's mode only while it reads one.
type editor struct {
	state   *liner.State
	raw     liner.ModeApplier
	regular liner.ModeApplier
}

// newEditor takes the terminal until it is closed. Kind: IO.
func newEditor(complete liner.WordCompleter, lines []string) (*editor, error) {
	regular, err := liner.TerminalMode()
	if err != nil {
		return nil, errs.New(errs.IO, "terminal: %w", err)
	}
	e := &editor{state: liner.NewLiner(), regular: regular}
	if e.raw, err = liner.TerminalMode(); err != nil {
		e.state.Close()
		return nil, errs.New(errs.IO, "terminal: %w", err)
	}
	e.state.SetCtrlCAborts(true)
	e.state.SetTabCompletionStyle(liner.TabPrints)
	e.state.SetWordCompleter(complete)
	for _, line := range lines {
		e.state.AppendHistory(line)
	}
	return e, regular.ApplyMode()
}

// Close gives the terminal back as it was.
func (e *editor) Close() error { return e.state.Close() }

// read reads a line. When ctx ends it returns at once; nothing can be read
// after that. Errors: io.EOF, errDropped, that of ctx, and the kind IO.
func (e *editor) read(ctx context.Context, prompt string) (string, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err := e.raw.ApplyMode(); err != nil {
		return "", errs.New(errs.IO, "terminal: %w", err)
	}
	defer e.regular.ApplyMode() // if the terminal is gone there is no mode to be in
	type answer struct {
		line string
		err  error
	}
	done := make(chan answer, 1)
	go func() { // it cannot be ended, and goes on until the process ends
		line, err := e.state.Prompt(prompt)
		done <- answer{line, err}
	}()
	select {
	case a := <-done:
		switch {
		case errors.Is(a.err, liner.ErrPromptAborted):
			return "", errDropped
		case a.err == io.EOF || a.err == nil:
			return a.line, a.err
		}
		return "", errs.New(errs.IO, "terminal: %w", a.err)
	case <-ctx.Done():
		fmt.Fprintln(os.Stdout) // leave the line that was begun
		return "", ctx.Err()
	}
}

// remember has the keys for older lines find one more.
func (e *editor) remember(line string) { e.state.AppendHistory(line) }

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
