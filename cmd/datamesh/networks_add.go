package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) networksAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME PEER_ID@ADDR...",
		Short: "give members of a mesh a name",
		Args:  arity(2, 64),

		ValidArgsFunction: positional(cobra.NoFileCompletions, c.completeMembers),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := c.configFile()
			if err != nil {
				return err
			}
			name := args[0]
			if err := f.AddNetwork(name, args[1:]); err != nil {
				return err
			}
			if err := f.Save(); err != nil {
				return err
			}
			cfg, err := f.Config()
			if err != nil {
				return err
			}
			peers, err := cfg.Peers(name)
			if err != nil {
				return err
			}
			err = c.print(networkDoc{Name: name, Peers: peers}, func(w io.Writer) {
				fmt.Fprintf(w, "the network %s has %s\n", name, count(len(peers), "peer"))
			})
			if err == nil {
				c.next("networks test %s", name)
			}
			return err
		},
	}
}
