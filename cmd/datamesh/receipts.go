package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) receiptsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "receipts ID|NAME",
		Short: "list what members have signed for that repairs gave shards of a file",
		Long: `Collects from the registrars of a file's segments the receipts of members that
were given shards by a repair, and checks their signatures. A receipt shows that
the holder has said, under its key, that it took the shard from that peer, at a
time by its own clock; it does not show that the holder has it still, which
"datamesh info" tells. Registrars keep the 32 of each segment that came last.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				r, err := ops.Receipts(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("receipts %s: %w", args[0], err)
				}
				return c.print(r, func(w io.Writer) { receiptsText(w, r) })
			})
		},
	}
}

// receiptRows is how many receipts a screen has room for.
const receiptRows = 16

func receiptsText(w io.Writer, r *node.Receipts) {
	row(w, "id", r.ID)
	row(w, "name", r.Name)
	row(w, "receipts", fmt.Sprintf("%d, for %s", len(r.Receipts), count(r.Segments, "segment")))
	if r.Silent > 0 {
		row(w, "silent", count(r.Silent, "question")+" to registrars had no answer")
	}
	if len(r.Refused) > 0 {
		row(w, "refused", fmt.Sprintf("%d that registrars have shown, the first by %s: %s", len(r.Refused), r.Refused[0].Registrar, r.Refused[0].Reason))
	}
	if len(r.Receipts) == 0 {
		return
	}
	row(w)
	row(w, "TIME", "SHARD", "HOLDER", "PLACED BY")
	for i, x := range r.Receipts {
		if i == receiptRows {
			break
		}
		holder := x.Holder.String()
		if !x.Member {
			holder += " (no member now)"
		}
		row(w, localTime(x.Time), fmt.Sprintf("%s/%d", short(x.Segment.String()), x.Index), holder, x.Placer)
	}
	if n := len(r.Receipts) - receiptRows; n > 0 {
		row(w)
		row(w, fmt.Sprintf("and %d more; --json has all", n))
	}
}

// short returns the beginning of an id.
func short(id string) string {
	if len(id) > 16 {
		return id[:16] + "…"
	}
	return id
}
