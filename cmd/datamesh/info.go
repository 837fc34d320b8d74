package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
)

func (c *cli) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "info ID|NAME",
		Aliases:           []string{"show"},
		Short:             "ask the peers where the shards of a file are now",
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withNode(cmd.Context(), func(ops api.Operations) error {
				info, err := ops.Info(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("info %s: %w", args[0], err)
				}
				return c.print(info, func(w io.Writer) {
					row(w, "id", info.ID)
					row(w, "name", info.Name)
					row(w, "size", size(info.Size))
					row(w, "survives", survives(info.Survives))
					row(w)
					row(w, "SEGMENT", "SHARD", "LIVE", "PEER")
					for i, segment := range info.Segments {
						for _, shard := range segment.Shards {
							row(w, i, shard.Index, yesNo(shard.Live), shard.Peer)
						}
					}
				})
			})
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
