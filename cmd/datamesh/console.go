package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh/internal/config"
	"datamesh/internal/errs"
)

const (
	programName = "datamesh"
	prompt      = programName + "> "
	maxLineSize = 1 << 20 // bytes of a line of a script
)

// leaving are the lines that end a console.
var leaving = []string{"exit", "quit"}

// A console runs the command lines that it reads. Each has flags of its own;
// the global ones that the console was given hold for all of them.
type console struct {
	cli     *cli
	globals []string
	status  int // of the last line that failed, or 0
}

func (c *cli) interactiveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "interactive",
		Short: "type commands one after another, with completion and history",
		Long: `Reads command lines, with or without "datamesh" before them, and runs each. The
global flags that it is given hold for all of them. Words are quoted as in a
shell; nothing is expanded. Tab completes commands, names, ids, peers and files;
lines are kept in the home, unless they begin with a blank. Ctrl-C ends the
command that runs, "exit" or Ctrl-D the console.

Lines that come from a file or a pipe are run one after another, also after one
has failed; the exit status is that of the last that failed.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.inConsole {
				return errs.WithHint(errs.New(errs.Invalid, "this is the console"), "leave it with exit")
			}
			con := &console{cli: c}
			cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
				if f.Changed {
					con.globals = append(con.globals, "--"+f.Name+"="+f.Value.String())
				}
			})
			if isTerminal(c.in) && isTerminal(c.out) {
				return con.talk(cmd.Context())
			}
			return con.script(cmd.Context())
		},
	}
}

// line returns the command line that the next line is run by.
func (con *console) line() *cli {
	return &cli{in: con.cli.in, out: con.cli.out, err: con.cli.err, inConsole: true}
}

// run runs a line, and reports whether it ends the console.
func (con *console) run(ctx context.Context, line string) (leave bool) {
	c := con.line()
	words, err := splitWords(line)
	if len(words) > 0 && words[0] == programName {
		words = words[1:]
	}
	if err == nil && len(words) > 0 && slices.Contains(leaving, words[0]) {
		if len(words) == 1 {
			return true
		}
		err = errs.WithHint(errs.New(errs.Invalid, "%s takes 0 arguments, not %d", words[0], len(words)-1), "type %s", words[0])
	}
	var status int
	switch {
	case err != nil:
		c.json = con.cli.json
		status = c.report(err)
	case len(words) > 0:
		status = c.execute(ctx, c.root(), slices.Concat(con.globals, words))
	}
	if status != 0 {
		con.status = status
		if !c.json {
			fmt.Fprintln(c.err, exitStatus(status))
		}
	}
	return false
}

// script runs lines that nobody types. An interrupt ends it.
func (con *console) script(ctx context.Context) error {
	lines := bufio.NewScanner(cancellable(ctx, con.cli.in))
	lines.Buffer(nil, maxLineSize)
	for ctx.Err() == nil && lines.Scan() && !con.run(ctx, lines.Text()) {
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, bufio.ErrTooLong):
		return errs.New(errs.Invalid, "a line has more than %d bytes", maxLineSize)
	case err != nil:
		return errs.New(errs.IO, "standard input: %w", err)
	case con.status != 0:
		return exitStatus(con.status)
	}
	return nil
}

// talk runs the lines that somebody types. An interrupt ends only the command
// that runs, and SIGTERM everything.
func (con *console) talk(ctx context.Context) error {
	home, err := config.FindHome(con.cli.homeDir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	past := &history{path: home.History()}
	lines, err := past.load()
	if err != nil {
		con.cli.warn("the lines of earlier consoles cannot be read: %v", err)
	}
	editor, err := newEditor(con.complete, lines)
	if err != nil {
		return err
	}
	defer editor.Close()
	fmt.Fprintln(con.cli.err, "type help for the commands, exit to leave")
	for {
		line, err := editor.read(ctx, prompt)
		switch {
		case errors.Is(err, errDropped):
			continue
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return interrupted{}
		case err != nil:
			return err
		}
		if past.add(line) {
			editor.remember(line)
		}
		con.keep(past)
		if con.interruptible(ctx, interrupts, line) {
			return nil
		}
		con.keep(past) // the line may have made the home
	}
}

// keep saves the history. One that cannot be saved is no reason to end.
func (con *console) keep(past *history) {
	if err := past.save(); err != nil {
		con.cli.warn("the line is not kept: %v", err)
	}
}

// interruptible runs a line until it ends or an interrupt comes.
func (con *console) interruptible(ctx context.Context, interrupts <-chan os.Signal, line string) (leave bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-interrupts: // it came before
	default:
	}
	go func() {
		select {
		case <-interrupts:
			cancel()
		case <-ctx.Done():
		}
	}()
	return con.run(ctx, line)
}
