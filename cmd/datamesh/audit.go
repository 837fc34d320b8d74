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

func (c *cli) auditCommand() *cobra.Command {
	var shards uint32
	cmd := &cobra.Command{
		Use:   "audit PEER",
		Short: "have a peer prove now that it holds what it should, as far as this node knows",
		Long: `Draws shards at random of those that the registry of this home's running node
says the peer holds, and has the peer show a random part of each, 16 KiB at
most, which proves itself. What it cannot show is taken out of the registry and
rebuilt. Ends with 9 if there is such a shard, and with 5 if the peer does not
answer at all. A running node does all this by itself, with all holders of its
segments, each audit.interval.`,
		Args: arity(1, 1),

		ValidArgsFunction: positional(c.completePeers),
	}
	cmd.Flags().Uint32Var(&shards, "count", 64, "ask for at most `N` shards")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if shards == 0 {
			return errs.WithHint(errs.New(errs.Invalid, "--count: 0 shards prove nothing"), "datamesh audit PEER --count 64")
		}
		return c.withService(cmd.Context(), func(ops api.Operations) error {
			a, err := ops.Audit(cmd.Context(), node.AuditOptions{Peer: args[0], Count: int(shards)})
			if err != nil {
				return fmt.Errorf("audit: %w", err)
			}
			if err := c.print(a, func(w io.Writer) { auditText(w, a, time.Now()) }); err != nil {
				return err
			}
			return auditVerdict(a)
		})
	}
	return cmd
}

func auditText(w io.Writer, a *node.Audited, now time.Time) {
	row(w, "shards", a.Shards)
	row(w, "proofs", a.Proofs)
	row(w, "failures", len(a.Failures))
	row(w, "silences", a.Silences)
	row(w, "last proof before", ago(a.LastProof, now))
	row(w, "last failure before", ago(a.LastFailure, now))
	if len(a.Failures) == 0 {
		return
	}
	row(w)
	row(w, "SHARD", "REASON")
	for _, f := range a.Failures {
		row(w, fmt.Sprintf("%s/%d", f.Segment, f.Index), f.Reason)
	}
}

// ago says how long before now something was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "none since the node started"
	}
	return fmt.Sprintf("%s ago", max(now.Sub(t), 0).Round(time.Second))
}

// auditVerdict is the error that a peer could not prove a shard, or was not
// there. Kinds: Degraded, Unavailable.
func auditVerdict(a *node.Audited) error {
	switch {
	case len(a.Failures) > 0:
		return errs.WithHint(errs.New(errs.Degraded, "audit: %s could not prove %d of %s", a.PeerID, len(a.Failures), count(a.Shards, "shard")),
			`it is rebuilt; tell the peer's operator to run "datamesh scrub", and see what your objects survive now with "datamesh health"`)
	case a.Silences > 0 && a.Silences == a.Shards:
		return errs.WithHint(errs.New(errs.Unavailable, "audit: %s does not answer", a.PeerID), `see who does with "datamesh discover"`)
	}
	return nil
}
