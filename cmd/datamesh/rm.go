package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) rmCommand() *cobra.Command {
	var o node.DeleteOptions
	var recursive bool
	cmd := &cobra.Command{
		Use:   "rm ID|NAME|DIR/",
		Short: "delete a file",
		Long: `Deletes a file that you have stored; of several of one name the newest. Nobody
can get it any more. For 7 days "datamesh undelete" brings it back: so long the
nodes keep its shards in their trash, where they take room, unless store.trash
says otherwise. Copies that others have got are theirs.

Of a file that has several names NAME is taken away and the file is kept, and ID
deletes it with all of them. What is pinned is not deleted: "datamesh unpin" it.

With -r all that is below a directory is deleted, with all versions of each file,
but for what is pinned and for snapshots of backups. It ends with 3 when some of it
could not be deleted.

Nodes that are away are told when they return.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&recursive, "recursive", "r", false, "delete a directory, with all that is below it")
	flags.BoolVar(&o.Now, "now", false, "delete it at once and for ever, not into the trash")
	flags.BoolVar(&o.Forget, "forget", false, "only take it out of the list, of all your homes, and leave it in the mesh")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be deleted, and delete nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Now && o.Forget {
			return errs.WithHint(errs.New(errs.Invalid, "what is only forgotten is not deleted"), "give either --now or --forget")
		}
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			dir, all, err := c.asDirectory(cmd.Context(), ops, args[0], recursive)
			if len(all) > 0 && !recursive {
				err = errs.WithHint(errs.New(errs.Invalid, "it is a directory, and %s would be deleted", count(len(all), "file")), "datamesh rm -r %s", quoteWord(args[0]))
			}
			if err != nil {
				return fmt.Errorf("rm %s: %w", args[0], err)
			}
			if len(all) > 0 {
				return c.rmEach(cmd.Context(), ops, dir, all, o)
			}
			r, err := ops.Delete(cmd.Context(), args[0], o)
			if err != nil {
				return fmt.Errorf("rm %s: %w", args[0], err)
			}
			if err := c.print(r, func(w io.Writer) { removedText(w, r) }); err != nil {
				return err
			}
			c.warnAll(r.Warnings)
			if r.Named > 0 {
				c.warn("left with this name: %s; delete the newest too: datamesh rm %s", count(r.Named, "object"), typable(r.Name, r.ID))
			}
			if !r.Until.IsZero() && !r.DryRun {
				c.next("undelete %s", r.ID)
			}
			return nil
		})
	}
	return cmd
}

// rmEach deletes what is within a directory.
func (c *cli) rmEach(ctx context.Context, ops api.Operations, dir string, all []node.Object, o node.DeleteOptions) error {
	o.Heard = true // when all was listed
	err := c.doEach(ctx, "rm", fileDeleted, dir, all, o.DryRun, func(x node.Object) ([]string, error) {
		o.Name = x.Name
		r, err := ops.Delete(ctx, x.ID.String(), o)
		if err != nil {
			return nil, err
		}
		return r.Warnings, nil
	})
	if err == nil && !o.DryRun && !o.Now && !o.Forget {
		c.next("list --deleted # what can be brought back")
	}
	return err
}

func removedText(w io.Writer, r *node.Removed) {
	row(w, "id", r.ID)
	row(w, "name", r.Name)
	row(w, "size", size(r.Size))
	if r.Segments > 0 {
		row(w, "stored", fmt.Sprintf("%s in %s", size(r.StoredBytes), count(r.Segments, "segment")))
	}
	if len(r.Names) > 0 {
		row(w, "names", strings.Join(r.Names, ", "))
	}
	what := "deleted"
	if r.DryRun {
		what = "would be deleted"
	}
	switch {
	case r.Unnamed:
		row(w, what, "this name alone; the file has others still")
	case r.Forgotten:
		row(w, what, "from the list; it is still in the mesh")
	case r.Until.IsZero():
		row(w, what, "for ever")
	default:
		row(w, what, "until "+localTime(r.Until)+" it can be brought back")
	}
}
