package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) cleanupCommand() *cobra.Command {
	var o node.CleanupOptions
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "put into the trash what is left over of yours in the mesh",
		Long: `Asks all members what they have of yours, and puts into the trash what is in no
list of any of your homes: what puts have left behind whose home was lost, and
deletions that were not heard. It takes what this home has seen for 30 days, of
which it takes note each time that this is typed, and each day while a node runs
in it. For 7 days "cleanup --undo" brings back what it puts there.

Nothing goes unless all is known that your homes have stored, and each object of
it can be read. What is an object that is in no list is kept, and named.`,
		Args:              arity(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would go, and put nothing into the trash")
	flags.BoolVar(&o.Undo, "undo", false, "bring back what was put into the trash from this home in the last 7 days")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.DryRun && o.Undo {
			return errs.WithHint(errs.New(errs.Invalid, "there is no dry run of what brings back"), "give either --dry-run or --undo")
		}
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			r, err := ops.Cleanup(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("cleanup: %w", err)
			}
			if err := c.print(r, func(w io.Writer) { cleanupText(w, r, o) }); err != nil {
				return err
			}
			return c.cleanupVerdict(r, o)
		})
	}
	return cmd
}

func cleanupText(w io.Writer, r *node.Cleaned, o node.CleanupOptions) {
	if o.Undo {
		row(w, "brought back", count(r.Restored, "segment"))
		return
	}
	row(w, "answered", fmt.Sprintf("%d of %s", r.Answered, count(r.Asked, "member")))
	what := "in the trash"
	if r.DryRun {
		what = "would go"
	}
	if r.Segments == 0 {
		row(w, what, "nothing")
	} else {
		row(w, what, fmt.Sprintf("%s, %s, seen since %s", count(r.Segments, "segment"), size(r.Bytes), localTime(r.Oldest)))
	}
	if !r.Until.IsZero() {
		row(w, "", "until "+localTime(r.Until)+" it can be brought back")
	}
	if r.Deleted > 0 {
		row(w, "deleted before", count(r.Deleted, "segment")+", of which some member had not heard")
	}
	if r.Waiting > 0 {
		row(w, "not yet", fmt.Sprintf("%s, %s, seen for long enough from %s to %s", count(r.Waiting, "segment"), size(r.WaitingBytes), localTime(r.First), localTime(r.Last)))
	}
	for _, f := range r.Found {
		row(w, "kept", fmt.Sprintf("%s %s (%s), which is in no list", f.ID, f.Name, size(f.Size)))
	}
}

// cleanupVerdict says what to do next. Kind of its error: Unavailable.
func (c *cli) cleanupVerdict(r *node.Cleaned, o node.CleanupOptions) error {
	if len(r.Found) > 0 {
		c.next("get %s", r.Found[0].ID)
	}
	again := "cleanup"
	if o.Undo {
		again = "cleanup --undo"
	}
	switch {
	case r.Failed > 0:
		return errs.WithHint(errs.New(errs.Unavailable, "cleanup: too few members have answered for %s", count(r.Failed, "more segment")),
			"try again when more of the mesh answers: datamesh %s", again)
	case r.DryRun && r.Segments > 0:
		c.next("cleanup")
	case r.Segments > 0:
		c.next("cleanup --undo")
	}
	return nil
}
