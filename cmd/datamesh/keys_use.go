package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
)

// identityUsed is the document of keys use.
type identityUsed struct {
	Name string `json:"name"`
	File string `json:"file"`
}

func (c *cli) keysUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "make an identity of this home the one that commands are for",
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeIdentities),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.identity != "" {
				return errs.WithHint(errs.New(errs.Invalid, "keys use takes the name of the identity"), "leave --identity out")
			}
			home, err := config.FindHome(c.homeDir)
			if err != nil {
				return err
			}
			if err := home.Use(args[0]); err != nil {
				return err
			}
			user, err := home.Used()
			if err != nil {
				return err
			}
			result := identityUsed{user.Name, user.Identity()}
			if err := c.print(result, func(w io.Writer) { fmt.Fprintf(w, "commands are for the identity %s now\n", result.Name) }); err != nil {
				return err
			}
			client, err := api.Dial(cmd.Context(), home.Socket())
			if errors.Is(err, errs.NoNode) {
				return nil
			}
			if err != nil {
				return err
			}
			defer client.Close()
			if id, err := client.Identity(cmd.Context()); err == nil && id.Name != user.Name {
				c.warn("the node that runs is that of the identity %s, and keeps the names of that in the mesh; start it anew for those of %s", id.Name, user.Name)
			}
			return nil
		},
	}
}
