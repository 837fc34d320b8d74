package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
	"datamesh/internal/errs"
)

// validated is the document of config validate.
type validated struct {
	File   string `json:"file"`
	Exists bool   `json:"exists"`
	Valid  bool   `json:"valid"`
}

func (c *cli) configValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "check a configuration file, of this home if none is named",
		Args:  arity(0, 1),

		ValidArgsFunction: positional(completeFiles),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := c.configFile()
			if len(args) == 1 {
				f, err = config.ReadFile(args[0])
			}
			if err != nil {
				return err
			}
			if len(args) == 1 && !f.Exists() {
				return errs.WithHint(errs.New(errs.FileNotFound, "there is no file %s", args[0]), "check the path")
			}
			if err := f.Check(); err != nil {
				return err
			}
			doc := validated{f.Path(), f.Exists(), true}
			return c.print(doc, func(w io.Writer) {
				if !doc.Exists {
					fmt.Fprintf(w, "there is no %s: all settings are defaults\n", plain(doc.File))
					return
				}
				fmt.Fprintf(w, "%s makes sense\n", plain(doc.File))
			})
		},
	}
}
