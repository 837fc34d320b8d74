package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) infoCommand() *cobra.Command {
	var prove bool
	cmd := &cobra.Command{
		Use:     "info ID|NAME",
		Aliases: []string{"show"},
		Short:   "ask the peers where the shards of a file are now, and how safe it is",
		Long: `Asks the peers where the shards of a file are, and says how many peers, hosts and
sites may vanish, when holders have last proven their shards to a registrar, and
how many nines that is: by the model, and as far as it was demonstrated. What
that is computed from stands beside it: what the node of this home has seen, or
else what is assumed. A holder without a label of its host or site is taken to
vanish with any of them.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				info, err := ops.Info(cmd.Context(), args[0], prove)
				if err != nil {
					return fmt.Errorf("info %s: %w", args[0], err)
				}
				return c.print(info, func(w io.Writer) { infoText(w, info, time.Now()) })
			})
		},
	}
	cmd.Flags().BoolVar(&prove, "prove", false, "have each holder but this node prove its shards now, by some 18 KiB a shard; one that cannot has none")
	c.completeFlags(cmd, nil)
	return cmd
}

// shardRows is how many shards a screen has room for.
const shardRows = 12

func infoText(w io.Writer, info *node.Info, now time.Time) {
	row(w, "id", info.ID)
	row(w, "name", info.Name)
	row(w, "size", size(info.Size))
	row(w, "stored", storedText(info))
	safetyRows(w, info.Survives, info.Safety, info.Basis, now)
	row(w)
	row(w, "SEGMENT", "SHARD", "LIVE", "PROVEN", "PEER")
	n := 0
	for i, segment := range info.Segments {
		for _, shard := range segment.Shards {
			proven := "never"
			if !shard.LastProof.IsZero() {
				proven = howLong(shard.LastProof, now) + " ago"
			}
			if n++; n <= shardRows {
				row(w, i, shard.Index, yesNo(shard.Live), proven, shard.Peer)
			}
		}
	}
	if n > shardRows {
		row(w)
		row(w, fmt.Sprintf("and %d more; --json has all", n-shardRows))
	}
}

// storedText says what is stored of an object now, and whether it is compressed.
func storedText(info *node.Info) string {
	text := size(info.StoredBytes)
	if info.Packed > 0 {
		text += fmt.Sprintf("; the content is compressed into %s, %.0f %% of it", size(info.Packed), 100*float64(info.Packed)/float64(info.Size))
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
