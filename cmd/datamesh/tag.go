package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) tagCommand() *cobra.Command {
	var add, remove []string
	cmd := &cobra.Command{
		Use:   "tag ID|NAME|DIR/|PATTERN",
		Short: "add tags to files, and take some away",
		Long: `Adds tags to what you have stored, and takes some away: of the newest file of a
name, of each name below DIR/, or of each that matches a pattern, such as
'photos/**/*.jpg'. A file has at most 64 tags, of 256 bytes each.`,
		Example:           `  datamesh tag 'photos/2026/*' --add holiday,sea --remove new`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	cmd.Flags().StringArrayVar(&add, "add", nil, "`TAGS` to add, separated by commas; may be repeated")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "`TAGS` to take away, likewise")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"add": c.completeTags, "remove": c.completeTags})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := node.TagOptions{Ref: args[0], Add: splitTags(strings.Join(add, ",")), Remove: splitTags(strings.Join(remove, ","))}
		if len(o.Add)+len(o.Remove) == 0 {
			return errs.WithHint(errs.New(errs.Invalid, "no tag is given"), "datamesh tag %s --add TAG", quoteWord(args[0]))
		}
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			r, err := ops.Tag(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("tag %s: %w", args[0], err)
			}
			c.warnAll(r.Warnings)
			return c.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "changed %d of %s\n", r.Changed, count(r.Objects, "file"))
				if r.Objects == 1 {
					row(w, "tags", strings.Join(r.Tags, ","))
				}
			})
		})
	}
	return cmd
}
