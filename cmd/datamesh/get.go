package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) getCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "get ID|NAME [OUT]",
		Short: "read a file back",
		Long: `Reads an object back into the file OUT, or into the directory OUT under its
stored name; "-" is standard output. Without OUT it is the stored name, in the
current directory. What was lost is rebuilt.`,
		Args: arity(1, 2),
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite OUT; print binary content on a terminal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref := args[0]
		switch {
		case len(args) == 1:
			return c.getFile(cmd.Context(), ref, &target{ref: ref, dir: ".", force: force})
		case args[1] == "-":
			return c.getStdout(cmd.Context(), ref, force)
		}
		out, err := newTarget(ref, args[1], force)
		if err != nil {
			return err
		}
		return c.getFile(cmd.Context(), ref, out)
	}
	return cmd
}

// getFile reads an object into a file that appears when it is whole.
func (c *cli) getFile(ctx context.Context, ref string, out *target) error {
	defer out.abort()
	return c.withNode(ctx, func(ops api.Operations) error {
		fetched, err := ops.Get(ctx, ref, out.open)
		if err != nil {
			return fmt.Errorf("get %s: %w", ref, err)
		}
		if err := out.commit(); err != nil {
			return err
		}
		fetched.Out = out.path
		c.warnBad(fetched)
		return c.print(fetched, func(w io.Writer) {
			row(w, "id", fetched.ID)
			row(w, "name", fetched.Name)
			row(w, "size", size(fetched.Size))
			row(w, "out", fetched.Out)
		})
	})
}

// getStdout writes an object, and nothing else, to standard output. The
// document of --json goes to standard error.
func (c *cli) getStdout(ctx context.Context, ref string, force bool) error {
	var out io.Writer = output{c.out}
	if f, ok := c.out.(*os.File); ok && !force && term.IsTerminal(int(f.Fd())) {
		out = terminal{out}
	}
	return c.withNode(ctx, func(ops api.Operations) error {
		fetched, err := ops.Get(ctx, ref, func(node.ObjectInfo) (io.Writer, error) { return out, nil })
		if err != nil {
			return fmt.Errorf("get %s: %w", ref, err)
		}
		fetched.Out = "-"
		c.warnBad(fetched)
		if c.json {
			return writeJSON(c.err, fetched)
		}
		return nil
	})
}

func (c *cli) warnBad(fetched *node.Fetched) {
	for _, b := range fetched.Bad {
		c.warn("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason)
	}
}
