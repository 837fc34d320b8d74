package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

func (c *cli) recoverCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "bring back your identity, and all that you have stored, from the 24 words",
		Long: `Reads the 24 words of an identity, which it asks for on a terminal, or else reads
from --phrase-file, or from standard input, and brings back the identity and the
list of what was stored with it, as its homes have kept it in the mesh. In a home
that knows no mesh name one of its members, any one:

  datamesh --bootstrap-peer PEER_ID --bootstrap-addr ADDR recover

No identity is made if the words are wrong, if the mesh knows no list of theirs,
or if fewer than a majority of those who keep it answer. It may be typed again.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().StringVar(&file, "phrase-file", "", "read the words from `FILE`")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"phrase-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkPhraseFile(cmd.Flags(), file); err != nil {
			return err
		}
		root, err := c.rootOfWords(cmd.Context(), file)
		if err != nil {
			return err
		}
		r, err := c.recover(cmd.Context(), root)
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if r.Missing > 0 {
			c.warn("%d records of your list are missing, which a home began to send and did not end, or the mesh has lost: what they say is not in the list", r.Missing)
		}
		err = c.print(r, func(w io.Writer) {
			row(w, "owner", r.Owner)
			row(w, "objects", fmt.Sprintf("%d, of %s", r.Objects, size(r.Bytes)))
			row(w, "homes", r.Devices)
			row(w, "answered", fmt.Sprintf("%d of %d peers that keep the list", r.Answered, r.Asked))
		})
		if err == nil {
			c.next("list")
		}
		return err
	}
	return cmd
}

// rootOfWords reads words, and returns the root that they stand for.
func (c *cli) rootOfWords(ctx context.Context, file string) (root keyring.Root, err error) {
	in, ended, err := c.phraseSource(file, "recover")
	if err != nil {
		return root, err
	}
	defer ended()
	var text string
	if isTerminal(in) {
		if err := c.mayRecover(); err != nil { // nobody types 24 words for that
			return root, fmt.Errorf("recover: %w", err)
		}
		text, err = c.askHidden(ctx, fmt.Sprintf("the %d words, which are not shown: ", keyring.PhraseWords))
	} else {
		text, err = readPhrase(ctx, in)
	}
	if err != nil {
		return root, err
	}
	return keyring.ParsePhrase(text)
}

// mayRecover finds out whether there is a mesh to recover from.
func (c *cli) mayRecover() error {
	c.mayMake = true
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return node.MayRecover(o)
}

// recover brings an identity and its catalog back. The node of the home, if one
// runs, does not know the identity yet: so this is always a client.
func (c *cli) recover(ctx context.Context, root keyring.Root) (*node.Recovered, error) {
	c.mayMake = true
	o, err := c.options(node.Client, nil)
	if err != nil {
		return nil, err
	}
	n, err := node.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	r, err := n.Recover(ctx, root)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed)
	}
	if err != nil {
		return nil, err
	}
	if err := o.Keys.MarkVerified(time.Now()); err != nil && errs.KindOf(err) != errs.Exists {
		c.warn("that the words are known was not noted in the home: %v", err)
	}
	return r, nil
}
