package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// made is the document of config init.
type made struct {
	File string `json:"file"`
}

func (c *cli) configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "make a configuration file that shows every setting",
		Args:  arity(0, 0),

		ValidArgsFunction: positional(),
		RunE: func(*cobra.Command, []string) error {
			f, err := c.configFile()
			if err != nil {
				return err
			}
			if err := f.Init(); err != nil {
				return err
			}
			doc := made{f.Path()}
			err = c.print(doc, func(w io.Writer) { fmt.Fprintf(w, "every setting is in %s, with its default\n", plain(doc.File)) })
			if err == nil {
				c.next("config show --origin")
			}
			return err
		},
	}
}
