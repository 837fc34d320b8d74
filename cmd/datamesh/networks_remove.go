package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

// removed is the document of networks remove.
type removed struct {
	Name   string        `json:"name"`
	Peers  []config.Peer `json:"peers"`
	DryRun bool          `json:"dry_run"`
}

func (c *cli) networksRemoveCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "take a name away from members of a mesh",
		Args:  arity(1, 1),

		ValidArgsFunction: positional(c.completeNetworks),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		f, err := c.configFile()
		if err != nil {
			return err
		}
		name := args[0]
		before, err := f.Config()
		if err != nil {
			return err
		}
		if err := f.RemoveNetwork(name); err != nil {
			return err
		}
		doc := removed{Name: name, DryRun: dry}
		if doc.Peers, err = before.Peers(name); err != nil {
			return err
		}
		verb := "would be"
		if !dry {
			verb = "is"
			if err := f.Save(); err != nil {
				return err
			}
		}
		return c.print(doc, func(w io.Writer) { fmt.Fprintf(w, "the network %s %s removed\n", name, verb) })
	}
	return cmd
}
