package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
	"datamesh/internal/errs"
)

// helpCommand is cobra's, but says what it has no help for.
func (c *cli) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND…]",
		Short: "say more about a command or a topic",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, sub := range about.Commands() {
				if (sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand()) && strings.HasPrefix(sub.Name(), word) {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			if len(rest) > 0 {
				return noCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// exitCodes says what each exit status means. Those of errors are in errs.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{0, "done"},
	{1, "another error"},
	{2, "the command line makes no sense"},
	{3, "only partly done"},
	{4, "not found"},
	{5, "too few peers answer, or the network failed: try again"},
	{6, "wrong key, or denied"},
	{7, "damaged data"},
	{8, "no node is running"},
	{9, "degraded"},
	{10, "bad configuration, or a database of a newer version"},
	{11, "the home is in use by another process"},
	{12, "no space"},
	{130, "interrupted"},
}

// kindsOf returns the names of the kinds of errors that end with a status.
func kindsOf(code int) (names []string) {
	for _, kind := range errs.Kinds() {
		if errs.ExitCode(kind) == code {
			names = append(names, kind.Name())
		}
	}
	return names
}

// A topic has help and does nothing.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("The exit status of every command says how it ended. With --json an error is a\ndocument on standard error whose \"kind\" is one of those behind the meaning.\n\n")
	for _, e := range exitCodes {
		line := e.meaning
		if kinds := kindsOf(e.code); len(kinds) > 0 {
			line += " (" + strings.Join(kinds, ", ") + ")"
		}
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, wrap(line, 72, "       "))
	}
	return &cobra.Command{Use: "exit-codes", Short: "what the exit status of a command means", Long: b.String()}
}

func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Settings are environment variables. An unknown DATAMESH_ variable or a value that\nmakes no sense is an error.\n\n")
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, "  %s\n      %s\n", v.Name, v.Accepts)
	}
	return &cobra.Command{Use: "environment", Short: "the environment variables that are read", Long: b.String()}
}

// wrap breaks a text into lines of at most width characters, where words allow
// it. The lines after the first are indented.
func wrap(text string, width int, indent string) string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return strings.Join(lines, "\n"+indent)
}

// commands returns a command and all below it that have documentation, in the
// order of their names.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	below := slices.SortedFunc(slices.Values(cmd.Commands()), func(a, b *cobra.Command) int {
		return strings.Compare(a.Name(), b.Name())
	})
	for _, sub := range below {
		if sub.IsAvailableCommand() {
			all = append(all, commands(sub)...)
		}
	}
	return all
}
