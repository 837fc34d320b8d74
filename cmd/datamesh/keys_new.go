package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// identityMade is the document of keys new.
type identityMade struct {
	Name      string            `json:"name"`
	Owner     datamesh.OwnerKey `json:"owner"`
	Recipient string            `json:"recipient"`
}

func (c *cli) keysNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "make a further identity in this home, with a catalog of its own",
		Long: `Makes an identity that has nothing to do with the others of this home: nobody can
tell that they are of one user but by the addresses of the node. Commands are for it
with --identity NAME, or after "datamesh keys use NAME".`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(cobra.NoFileCompletions),
		RunE: func(_ *cobra.Command, args []string) error {
			home, err := config.FindHome(c.homeDir)
			if err != nil {
				return err
			}
			id, err := newIdentity(home, args[0])
			if err != nil {
				return err
			}
			err = c.print(id, func(w io.Writer) {
				row(w, "name", id.Name)
				row(w, "owner", id.Owner)
				row(w, "recipient", id.Recipient)
			})
			if err == nil {
				c.next("keys init --identity %s", id.Name)
			}
			return err
		},
	}
}

// newIdentity makes an identity of a name that is not taken. Kinds: Invalid,
// Exists, IO, Full.
func newIdentity(home config.Home, name string) (id identityMade, err error) {
	user, err := home.User(name)
	if err != nil {
		return id, err
	}
	if err := home.Make(); err != nil {
		return id, err
	}
	if err := user.Make(); err != nil {
		return id, err
	}
	keys := keyring.At(user.Identity())
	if err = keys.Restore(keyring.NewRoot()); errs.KindOf(err) == errs.Exists {
		return id, errs.WithHint(errs.New(errs.Exists, "this home has an identity %q already", name), "choose another name; see datamesh keys list")
	}
	if err != nil {
		return id, err
	}
	if err := keys.MarkMade(time.Now()); err != nil {
		return id, err
	}
	public, err := keys.Public()
	return identityMade{name, public.Owner, public.Recipient}, err
}
