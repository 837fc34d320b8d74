package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

func (c *cli) keysSucceedCommand() *cobra.Command {
	var yes bool
	var file string
	cmd := &cobra.Command{
		Use:   "succeed NEW",
		Short: "go on as another identity of this home, and have your contacts follow",
		Long: `Signs, with the identity that commands are for and with NEW, that NEW is its
successor: for when somebody may know the words of your identity, or have its file.
Whoever has the identity of before as a contact shares with NEW from then on, and
finds in his inbox what NEW shares, under the same name. He is asked nothing, and
told so once by each of his homes. Make NEW first: datamesh keys new NEW.

This cannot be taken back. Nothing that is stored moves: it stays readable for the
identity of before, and for whoever has its words. Store it anew as NEW, and delete
it:

  datamesh --identity OLD export PATTERN -o FILE
  datamesh --identity NEW import FILE
  datamesh --identity OLD rm NAME

NEW has no contacts of its own yet: add them, so that its inbox has what they share.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeIdentities),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	cmd.Flags().StringVar(&file, "successor-passphrase-file", "", "read the passphrase of NEW from `FILE` (default as that of the other)")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"successor-passphrase-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("successor-passphrase-file") && file == "" {
			return errs.WithHint(errs.New(errs.Invalid, "--successor-passphrase-file is empty"), "name a file, or leave it out")
		}
		s, err := c.succeed(cmd.Context(), args[0], yes, file)
		if err != nil {
			return fmt.Errorf("succeed: %w", err)
		}
		err = c.print(s, func(w io.Writer) { succeededText(w, s) })
		c.warnAll(s.Warnings)
		if err == nil {
			c.next("keys use %s", args[0])
		}
		return err
	}
	return cmd
}

func succeededText(w io.Writer, s *node.Succeeded) {
	row(w, "owner", s.Owner)
	row(w, "successor", s.Successor)
	row(w, "address", s.Address)
}

// succeed does the work in this process, which can ask for passphrases, as a
// client of each of the two identities.
func (c *cli) succeed(ctx context.Context, name string, yes bool, file string) (*node.Succeeded, error) {
	before, err := c.options(node.Client, nil)
	if err != nil {
		return nil, err
	}
	after := before
	if after.User, err = before.Home.Known(name); err != nil {
		return nil, err
	}
	if after.User.Name == before.User.Name {
		return nil, errs.WithHint(errs.New(errs.Invalid, "an identity is not its own successor"), "name the one that goes on, and with --identity the one of before")
	}
	if file != "" {
		after.Config.Keys.PassphraseFile = file
	}
	after.Keys = c.keysOf(after.User, after.Config)
	after.Keys.Plugins = before.Keys.Plugins
	for _, o := range []node.Options{before, after} {
		if _, err := openKeys(o.Keys); err != nil {
			return nil, fmt.Errorf("identity %s: %w", o.User.Name, err)
		}
	}
	if !yes {
		err := c.confirm(ctx, fmt.Sprintf("the identity %s goes on as %s for ever, and contacts follow; type yes to go on: ", before.User.Name, after.User.Name))
		if err != nil {
			return nil, err
		}
	}
	owner, err := before.Keys.OwnerKey()
	if err != nil {
		return nil, err
	}
	var to format.Successor
	if err := c.byClient(ctx, after, func(n *node.Node) (err error) {
		to, err = n.Consent(ctx, owner)
		return err
	}); err != nil {
		return nil, err
	}
	var s *node.Succeeded
	err = c.byClient(ctx, before, func(n *node.Node) (err error) {
		s, err = n.Succeed(ctx, to)
		return err
	})
	return s, err
}

// byClient runs f with a client that is part of this process.
func (c *cli) byClient(ctx context.Context, o node.Options, f func(*node.Node) error) error {
	n, err := node.Open(ctx, o)
	if err != nil {
		return err
	}
	err = f(n)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed)
	}
	return err
}

// confirm asks on the terminal whether to do what cannot be taken back. Kinds:
// Invalid (nobody can be asked), Refused.
func (c *cli) confirm(ctx context.Context, question string) error {
	if c.inConsole || c.json || !isTerminal(c.in) {
		return errs.WithHint(errs.New(errs.Invalid, "this cannot be taken back, and nobody can be asked whether it is meant"), "give --yes, too")
	}
	fmt.Fprint(c.err, question)
	answer := make(chan string, 1)
	go func() { // it cannot be ended, and goes on until the process ends
		line, _ := bufio.NewReader(c.in).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		if line == "yes" {
			return nil
		}
		return errs.WithHint(errs.New(errs.Refused, "nothing was done"), "type yes to go on, or give --yes")
	case <-ctx.Done():
		return ctx.Err()
	}
}
