package main

import (
	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) searchCommand() *cobra.Command {
	var limit uint32
	cmd := &cobra.Command{
		Use:   "search WORD…",
		Short: "find words in names and tags",
		Long: `Lists what you have stored in whose name or tags all the words are, whatever
stands before and after them, and whether letters are small or capital. What this
home got last is first. Words of three characters or more are found at once,
shorter ones by looking through all names.`,
		Args:              arity(1, -1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().Uint32Var(&limit, "limit", 100, "`N` to list at most")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := node.ListOptions{Words: args, Limit: int(limit)}
		return c.withList(cmd.Context(), func(ops api.Operations) error { return c.list(cmd.Context(), ops, o, false) })
	}
	return cmd
}
