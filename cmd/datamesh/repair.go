package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) repairCommand() *cobra.Command {
	var o node.RepairOptions
	cmd := &cobra.Command{
		Use:   "repair [ID|NAME]",
		Short: "restore now what is missing of an object, or of all that this node keeps track of",
		Long: `Has the node that runs in this home look at all segments that it keeps track of,
and repair those that are not whole, without waiting for repair.grace. Ends with
9 if any stays weak. The nodes of a mesh do all this by themselves after the
grace, and each repair.interval; all read at most repair.rate bytes in a second.

In a large mesh each node keeps track of a part of the segments: ask several. If
the command is interrupted, what it began goes on.

With ID or NAME it is the segments of that object. Then the node of this home, or
without one this command, does the work itself: it reads what is left, rebuilds
what is missing, and gives it to members. It ends when it is interrupted.`,
		Args:              arity(0, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and restore nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			o.Object = args[0]
			return c.withKeys(cmd.Context(), func(ops api.Operations) error { return c.repair(cmd.Context(), ops, o) })
		}
		asked := false
		err := c.withService(cmd.Context(), func(ops api.Operations) error {
			asked = true
			return c.repair(cmd.Context(), ops, o)
		})
		if !asked && errors.Is(err, errs.NoNode) {
			return errs.WithHint(err, `nodes repair, and commands do not: ask one on its machine, or start one here with "datamesh service"`)
		}
		return err
	}
	return cmd
}

func (c *cli) repair(ctx context.Context, ops api.Operations, o node.RepairOptions) error {
	o.Transfer = newTransfer()
	stop := c.follow(ctx, ops, o.Transfer)
	r, err := ops.Repair(ctx, o)
	stop()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace("repair "+o.Object), err)
	}
	return c.printRepaired(r)
}

// printRepaired prints what was found and done. Its error may be that segments
// stay weak. Kinds: Degraded, IO.
func (c *cli) printRepaired(r *node.Repaired) error {
	if err := c.print(r, func(w io.Writer) { repairText(w, r) }); err != nil {
		return err
	}
	return c.repairVerdict(r)
}

func repairText(w io.Writer, r *node.Repaired) {
	given, repaired := "given", "repaired"
	if r.DryRun {
		given, repaired = "to give", "to repair"
	}
	row(w, "looked at", count(r.Segments, "segment"))
	row(w, "waiting", r.Waiting)
	row(w, repaired, r.Repaired)
	row(w, "unrepaired", r.Unrepaired)
	row(w, given, fmt.Sprintf("%s of %s", size(r.Bytes), count(r.Shards, "shard")))
	if r.DryRun && len(r.Placed) > 0 {
		row(w)
		row(w, "SHARD", "CAUSE", "PEER")
		for _, p := range r.Placed {
			row(w, fmt.Sprintf("%s/%d", p.Segment, p.Index), p.Cause, p.Peer)
		}
	}
	if len(r.Weak) > 0 {
		row(w)
		row(w, "WEAK", "REASON")
		for _, s := range r.Weak {
			row(w, s.Segment, s.Reason)
		}
	}
}

// repairVerdict is the error that segments stay weak.
func (c *cli) repairVerdict(r *node.Repaired) error {
	if r.Unrepaired > 0 {
		return errs.WithHint(errs.New(errs.Degraded, "%d of %s cannot be made as safe as they should be now", r.Unrepaired, count(r.Segments, "segment")),
			`see who is away with "datamesh discover", and start them again or add nodes; it is tried again by itself`)
	}
	if r.DryRun && r.Waiting > 0 {
		c.next("repair")
	} else {
		c.next("health")
	}
	return nil
}
