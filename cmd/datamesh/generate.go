package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"datamesh/internal/errs"
)

// generated is the document of generate --json.
type generated struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
}

func (c *cli) generateCommand() *cobra.Command {
	generate := c.group(&cobra.Command{
		Use:   "generate",
		Short: "write the documentation of the commands",
	})
	generate.AddCommand(
		c.generator("man", "write a manual page for each command", ".1", "-", func(root *cobra.Command, dir string) error {
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "DataMesh " + version, Manual: "DataMesh"}, dir)
		}),
		c.generator("docs", "write a Markdown page for each command", ".md", "_", doc.GenMarkdownTree))
	return generate
}

func (c *cli) generator(name, short, ext, separator string, write func(root *cobra.Command, dir string) error) *cobra.Command {
	return &cobra.Command{
		Use:               name + " DIR",
		Short:             short,
		Long:              "Writes a page for each command into the directory DIR, which is made if need be.\nPages that are there are replaced.",
		Args:              arity(1, 1),
		ValidArgsFunction: positional(completeDirs),
		RunE: func(cmd *cobra.Command, args []string) error {
			result := generated{Dir: args[0]}
			err := os.MkdirAll(result.Dir, 0o777)
			if err == nil {
				err = write(cmd.Root(), result.Dir)
			}
			if err != nil {
				return errs.WithHint(errs.New(errs.IO, "generate: %w", err), "give a directory that can be written: datamesh generate %s DIR", name)
			}
			for _, documented := range commands(cmd.Root()) {
				result.Files = append(result.Files, strings.ReplaceAll(documented.CommandPath(), " ", separator)+ext)
			}
			return c.print(result, func(w io.Writer) {
				fmt.Fprintf(w, "%s written to %s\n", count(len(result.Files), "page"), plain(result.Dir))
			})
		},
	}
}
