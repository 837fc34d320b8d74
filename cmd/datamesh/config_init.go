package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "make a configuration file that shows every setting",
		Args:  arity(0, 0),
		RunE: func(*cobra.Command, []string) error {
			f, err := c.configFile()
			if err != nil {
				return err
			}
			if err := f.Init(); err != nil {
				return err
			}
			doc := struct {
				File string `json:"file"`
			}{f.Path()}
			err = c.print(doc, func(w io.Writer) { fmt.Fprintf(w, "every setting is in %s, with its default\n", plain(doc.File)) })
			if err == nil {
				c.next("config show --origin")
			}
			return err
		},
	}
}
