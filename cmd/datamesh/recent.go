package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) recentCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "recent [N]",
		Short:             "list the newest of what you have stored, 10 of it or N",
		Args:              arity(0, 1),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := node.ListOptions{Limit: 10}
			if len(args) > 0 {
				n, err := strconv.ParseUint(args[0], 10, 31)
				if err != nil || n == 0 {
					return errs.WithHint(errs.New(errs.Invalid, "%q is no number of files", args[0]), "datamesh recent 10")
				}
				o.Limit = int(n)
			}
			return c.withList(cmd.Context(), func(ops api.Operations) error { return c.list(cmd.Context(), ops, o, false) })
		},
	}
}
