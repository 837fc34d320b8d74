package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

func (c *cli) keysCommand() *cobra.Command {
	keys := c.group(&cobra.Command{
		Use:   "keys",
		Short: "write your identity down, or carry it to another home",
	})
	keys.AddCommand(c.keysListCommand(), c.keysShowCommand(), c.keysNewCommand(), c.keysUseCommand(), c.keysRotateCommand(), c.keysSucceedCommand(),
		c.keysInitCommand(), c.keysVerifyCommand(), c.keysPassphraseCommand(), c.keysExportCommand(), c.keysImportCommand())
	return keys
}

// exported is the document of keys export --json.
type exported struct {
	Out string `json:"out"`
}

func (c *cli) keysExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "export FILE",
		Short:             "write your identity to a new file; whoever has it can read what you stored",
		Args:              arity(1, 1),
		ValidArgsFunction: positional(completeFiles),
		RunE: func(_ *cobra.Command, args []string) error {
			o, err := c.options(node.Client, nil)
			if err != nil {
				return err
			}
			if err := o.Keys.Export(args[0]); err != nil {
				return err
			}
			c.noteExported(o.Keys)
			result := exported{args[0]}
			err = c.print(result, func(w io.Writer) {
				fmt.Fprintf(w, "your identity is in %s: keep it where nobody else can read it\n", plain(result.Out))
			})
			if err == nil {
				c.nextElsewhere("keys import %s # in the other home", result.Out)
			}
			return err
		},
	}
}

// noteExported notes in the home that its identity is in another file too.
func (c *cli) noteExported(keys *keyring.File) {
	if err := keys.MarkExported(time.Now()); err != nil {
		c.warn("that was not noted in the home: %v", err) // doctor will say that it never happened
	}
}

func (c *cli) keysImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "make the identity in a file that of this home",
		Long: `Makes the identity that "datamesh keys export" has written that of this home, or of
--identity NAME. A file of age identities, those of plugins too, adds those to what
can be read: objects that were sealed to them.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(completeFiles),
		RunE: func(_ *cobra.Command, args []string) error {
			c.mayMake = true
			o, err := c.options(node.Client, nil)
			if err != nil {
				return err
			}
			if err := errors.Join(o.Home.Make(), o.User.Make()); err != nil {
				return err
			}
			err = o.Keys.Import(args[0])
			if errors.Is(err, errs.FileNotFound) {
				return errs.WithHint(err, "check the path")
			}
			if err != nil {
				return err
			}
			id, err := node.LoadIdentity(o.Home, o.User, o.Keys)
			if err != nil {
				return err
			}
			c.noteExported(o.Keys) // the file is what an export has written
			if err := c.printIdentity(id); err != nil {
				return err
			}
			if _, err := os.Stat(o.Home.Mesh()); err == nil {
				c.next("get ID|NAME")
			} else {
				c.next("networks use PEER_ID@ADDR")
			}
			return nil
		},
	}
}
