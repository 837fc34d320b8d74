package main

import (
	"io"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// identities is the document of keys list.
type identities struct {
	Identities []identityOf `json:"identities"`
}

// identityOf is what needs no passphrase to be known of an identity.
type identityOf struct {
	Name      string            `json:"name"`
	Used      bool              `json:"used"` // if no other is named
	Owner     datamesh.OwnerKey `json:"owner,omitzero"`
	Protected bool              `json:"protected"`
	Error     string            `json:"error,omitempty"` // why the owner is not known
}

func (c *cli) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the identities of this home",
		Long: `Lists the identities of this home. Each has a catalog of its own: what is stored
with one is not in the list of another, nor can that read it. * marks the one that
commands are for which do not say --identity; a node that runs serves the one that
it was started with.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(*cobra.Command, []string) error {
			home, err := config.FindHome(c.homeDir)
			if err != nil {
				return err
			}
			list, err := c.identities(home)
			if err != nil {
				return err
			}
			return c.print(list, func(w io.Writer) {
				row(w, "", "NAME", "PASSPHRASE", "OWNER")
				for _, id := range list.Identities {
					used, owner := "", id.Error
					if id.Used {
						used = "*"
					}
					if owner == "" {
						owner = id.Owner.String()
					}
					row(w, used, id.Name, yesNo(id.Protected), owner)
				}
			})
		},
	}
}

func (c *cli) identities(home config.Home) (identities, error) {
	list := identities{Identities: []identityOf{}}
	used, err := home.Used()
	if err != nil {
		return list, err
	}
	names, err := home.Users()
	if err != nil {
		return list, err
	}
	for _, name := range names {
		u, err := home.User(name)
		if err != nil {
			return list, err
		}
		list.Identities = append(list.Identities, identityOfUser(u, name == used.Name))
	}
	return list, nil
}

func identityOfUser(u config.User, used bool) identityOf {
	id := identityOf{Name: u.Name, Used: used}
	keys := keyring.At(u.Identity())
	var err error
	if id.Protected, err = keys.Protected(); err == nil {
		id.Owner, err = keys.OwnerKey()
	}
	if errs.KindOf(err) == errs.Authentication {
		id.Error = "its owner is not noted beside it, and it has a passphrase"
	} else if err != nil {
		id.Error = err.Error()
	}
	return id
}
