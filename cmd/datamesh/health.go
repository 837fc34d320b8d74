package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) healthCommand() *cobra.Command {
	var quick bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "tell whether everything that you have stored is as safe as it can be",
		Long: `Asks the peers about every object that was put from this home, and says in one
sentence how many peers may still vanish; then the least that is so of all of
them, as "datamesh info" says it of one. It ends with 9 when an object cannot
be read now, has lost a shard, or survives fewer losses than it would if its
shards were well spread over all members that are not dead: what repair sees to.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "ask about no object; ends with 9 when a member does not answer")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			h, err := ops.Health(cmd.Context(), quick)
			if err != nil {
				return fmt.Errorf("health: %w", err)
			}
			if err := c.print(h, func(w io.Writer) { healthText(w, h, time.Now()) }); err != nil {
				return err
			}
			if h.Degraded {
				return degraded(h)
			}
			c.nextAfterHealth(h, quick)
			return nil
		})
	}
	return cmd
}

// healthText writes the verdict and what is behind it: of the objects only
// those that are not well.
func healthText(w io.Writer, h *node.Health, now time.Time) {
	row(w, h.Verdict)
	row(w)
	if h.Least != nil && h.Basis != nil {
		survived := h.Objects[0].Survives
		for _, o := range h.Objects {
			survived = min(survived, o.Survives)
		}
		safetyRows(w, survived, *h.Least, *h.Basis, now)
		row(w)
	}
	row(w, "members", fmt.Sprintf("%d alive, %d suspect, %d dead", h.Members.Alive, h.Members.Suspect, h.Members.Dead))
	if h.Silent > 0 {
		row(w, "silent", fmt.Sprintf("%d of those alive or suspect", h.Silent))
	}
	row(w, "connected", count(h.Members.Connected, "peer"))
	row(w, "catalog", fmt.Sprintf("%s, %s", count(int(h.Catalog.Objects), "object"), size(h.Catalog.Bytes)))
	weak := 0
	for _, o := range h.Objects {
		if !o.Weak() {
			continue
		}
		if weak++; weak == 1 {
			row(w)
			row(w, "OBJECT", "SURVIVES", "POSSIBLE", "LOST", "NINES", "ID")
		}
		if weak <= weakRows {
			row(w, o.Name, losses(o.Survives, "unreadable"), losses(o.Possible, "unknown"), o.Lost, nines(o.Safety.Modelled), o.ID)
		}
	}
	if weak > weakRows {
		row(w)
		row(w, fmt.Sprintf("and %d more; --json has all", weak-weakRows))
	}
}

// weakRows is how many objects a screen has room for.
const weakRows = 8

func losses(n int, unknown string) string {
	if n < 0 {
		return unknown
	}
	return fmt.Sprint(n)
}

// degraded is the error of a health that is not as good as it could be.
func degraded(h *node.Health) error {
	err := errs.New(errs.Degraded, "%s", h.Verdict)
	if h.Silent+h.Members.Dead > 0 {
		return errs.WithHint(err, `see which members do not answer with "datamesh discover", and start them again`)
	}
	return errs.WithHint(err, `see where shards are with "datamesh info %s"; what is put again is another object, spread over all members`, h.Objects[0].ID)
}

// nextAfterHealth tells what to do when all is well.
func (c *cli) nextAfterHealth(h *node.Health, quick bool) {
	switch {
	case h.Catalog.Objects == 0:
		c.next("put FILE")
	case quick:
		c.next("health")
	default:
		c.next("stats")
	}
}
