package main

import (
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

func (c *cli) configShowCommand() *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "list all settings",
		Args:  arity(0, 0),
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each was made")
	cmd.RunE = func(*cobra.Command, []string) error {
		_, cfg, err := c.settings()
		if err != nil {
			return err
		}
		doc := struct {
			Settings []config.Setting `json:"settings"`
		}{cfg.Settings()}
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
