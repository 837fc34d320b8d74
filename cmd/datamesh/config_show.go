package main

import (
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

// allSettings is the document of config show.
type allSettings struct {
	Settings []config.Setting `json:"settings"`
}

func (c *cli) configShowCommand() *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "list all settings",
		Args:  arity(0, 0),

		ValidArgsFunction: positional(),
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each was made")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(*cobra.Command, []string) error {
		_, cfg, err := c.settings()
		if err != nil {
			return err
		}
		doc := allSettings{cfg.Settings()}
		return c.print(doc, func(w io.Writer) {
			for _, s := range doc.Settings {
				if origin {
					row(w, s.Key, s.Value, s.Origin)
				} else {
					row(w, s.Key, s.Value)
				}
			}
		})
	}
	return cmd
}
