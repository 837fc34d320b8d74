package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) pinCommand() *cobra.Command {
	return c.pinning(&cobra.Command{
		Use:   "pin ID|NAME|PATTERN",
		Short: "keep files from being deleted",
		Long: `Has "datamesh rm" refuse to delete what you have stored, in all your homes: the
newest file of a name, or of each name that matches a pattern, such as
'photos/**'. "datamesh unpin" lets it again.`,
	}, node.PinOptions{})
}

func (c *cli) unpinCommand() *cobra.Command {
	return c.pinning(&cobra.Command{
		Use:   "unpin ID|NAME|PATTERN",
		Short: "let files be deleted again that are pinned",
	}, node.PinOptions{Unpin: true})
}

func (c *cli) pinning(cmd *cobra.Command, o node.PinOptions) *cobra.Command {
	cmd.Args = arity(1, 1)
	cmd.ValidArgsFunction = positional(c.completeObjects)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Ref = args[0]
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			r, err := ops.Pin(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("%s %s: %w", cmd.Name(), args[0], err)
			}
			c.warnAll(r.Warnings)
			return c.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "changed %d of %s\n", r.Changed, count(r.Objects, "file"))
			})
		})
	}
	return cmd
}
