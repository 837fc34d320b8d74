package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) getCommand() *cobra.Command {
	var force, dryRun bool
	cmd := &cobra.Command{
		Use:     "get ID|NAME [OUT]",
		Aliases: []string{"download"},
		Short:   "read a file back",
		Long: `Reads an object back into the file OUT, or into the directory OUT under its
stored name; "-" is standard output. Without OUT it is the stored name, in the
current directory. What was lost is rebuilt.`,
		Args:              arity(1, 2),
		ValidArgsFunction: positional(c.completeObjects, completeFiles),
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite OUT; print binary content on a terminal")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be written where, and write nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref := args[0]
		if dryRun {
			return c.planGet(cmd.Context(), args, force)
		}
		switch {
		case len(args) == 1:
			return c.getFile(cmd.Context(), &target{ref: ref, dir: ".", force: force})
		case args[1] == "-":
			return c.getStdout(cmd.Context(), ref, force)
		}
		out, err := newTarget(ref, args[1], force)
		if err != nil {
			return err
		}
		return c.getFile(cmd.Context(), out)
	}
	return cmd
}

// errPlanned ends a get that was only asked what it would do.
var errPlanned = errors.New("planned")

// planGet says what a get would write.
func (c *cli) planGet(ctx context.Context, args []string, force bool) (err error) {
	out := &target{ref: args[0], dir: ".", force: force}
	toStdout := len(args) == 2 && args[1] == "-"
	if len(args) == 2 && !toStdout {
		if out, err = newTarget(args[0], args[1], force); err != nil {
			return err
		}
	}
	plan := node.Fetched{Out: "-", Bad: []node.BadShard{}, DryRun: true}
	return c.withKeys(ctx, func(ops api.Operations) error {
		_, err := ops.Get(ctx, args[0], node.GetOptions{}, func(info node.ObjectInfo) (io.Writer, error) {
			plan.ID, plan.Name, plan.Size = info.ID, info.Name, info.Size
			if toStdout {
				return nil, errPlanned
			}
			if err := out.settle(info); err != nil {
				return nil, err
			}
			plan.Out = out.path
			return nil, errPlanned
		})
		if !errors.Is(err, errPlanned) {
			return fmt.Errorf("get %s: %w", args[0], err)
		}
		return c.print(plan, func(w io.Writer) {
			fmt.Fprintf(w, "would write %s to %s\n", size(plan.Size), plain(plan.Out))
		})
	})
}

// getFile reads an object into a file that appears when it is whole.
func (c *cli) getFile(ctx context.Context, out *target) error {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return err
	}
	out.begin(home)
	defer out.abort()
	o := node.GetOptions{Transfer: newTransfer(), Resume: out.before()}
	return c.withKeys(ctx, func(ops api.Operations) error {
		stop := c.follow(ctx, ops, o.Transfer)
		fetched, err := ops.Get(ctx, out.ref, o, out.open)
		stop()
		if err != nil {
			err = fmt.Errorf("get %s: %w", out.ref, err)
			passes := ctx.Err() != nil || errs.Retryable(err) || errors.Is(err, errs.NoNode) // the service was restarted
			if passes && out.leave() {
				err = errs.WithHint(err, "type the same again: it goes on where it stopped")
			}
			return err
		}
		if err := out.commit(); err != nil {
			return err
		}
		fetched.Out = out.path
		c.noticeNewest(out.ref, fetched)
		c.warnBad(fetched)
		err = c.print(fetched, func(w io.Writer) {
			row(w, "id", fetched.ID)
			row(w, "name", fetched.Name)
			row(w, "size", size(fetched.Size))
			row(w, "out", fetched.Out)
		})
		if err == nil {
			c.next("info %s", fetched.ID)
		}
		return err
	})
}

// getStdout writes an object, and nothing else, to standard output. The
// document of --json goes to standard error.
func (c *cli) getStdout(ctx context.Context, ref string, force bool) error {
	var out io.Writer = output{c.out}
	if f, ok := c.out.(*os.File); ok && !force && term.IsTerminal(int(f.Fd())) {
		out = &terminal{w: out}
	}
	o := node.GetOptions{Transfer: newTransfer()}
	return c.withKeys(ctx, func(ops api.Operations) error {
		stop := c.follow(ctx, ops, o.Transfer)
		fetched, err := ops.Get(ctx, ref, o, func(node.ObjectInfo) (io.Writer, error) { return out, nil })
		stop()
		if err != nil {
			return fmt.Errorf("get %s: %w", ref, err)
		}
		fetched.Out = "-"
		c.noticeNewest(ref, fetched)
		c.warnBad(fetched)
		if c.json {
			return writeJSON(c.err, fetched)
		}
		return nil
	})
}

// noticeNewest says that a name was that of several objects. The document of
// --json has it too.
func (c *cli) noticeNewest(ref string, fetched *node.Fetched) {
	if fetched.Named > 1 && !c.json {
		c.notice("%d objects are named %s: this is the newest, %s; see them with \"datamesh list\"", fetched.Named, ref, fetched.ID)
	}
}

func (c *cli) warnBad(fetched *node.Fetched) {
	for _, b := range fetched.Bad {
		c.warn("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason)
	}
}
