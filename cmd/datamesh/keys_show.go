package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

// identityShown is the document of keys show.
type identityShown struct {
	Name      string            `json:"name"`
	Used      bool              `json:"used"` // if no other is named
	Owner     datamesh.OwnerKey `json:"owner"`
	Recipient string            `json:"recipient"`
	Epoch     int               `json:"epoch"`
	Protected bool              `json:"protected"`
	Made      time.Time         `json:"made,omitzero"`
	Exported  time.Time         `json:"exported,omitzero"`
	Shown     time.Time         `json:"shown,omitzero"`
	Verified  time.Time         `json:"verified,omitzero"`
	File      string            `json:"file"`
	Catalog   string            `json:"catalog"`
}

func (c *cli) keysShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "say whose an identity of this home is, and whether it is anywhere else",
		Args:              arity(0, 1),
		ValidArgsFunction: positional(c.completeIdentities),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := config.FindHome(c.homeDir)
			if err != nil {
				return err
			}
			used, err := home.Used()
			if err != nil {
				return err
			}
			user, err := c.userOf(home)
			if len(args) > 0 {
				user, err = home.Known(args[0])
			}
			if err != nil {
				return err
			}
			cfg, err := c.load(home, nil)
			if err != nil {
				return err
			}
			id, err := showIdentity(cmd.Context(), user, c.keysOf(user, cfg))
			if err != nil {
				return keyring.NoIdentity(err)
			}
			id.Used = user == used
			return c.print(id, func(w io.Writer) {
				row(w, "name", id.Name)
				row(w, "owner", id.Owner)
				row(w, "recipient", id.Recipient)
				row(w, "epoch", id.Epoch)
				row(w, "passphrase", yesNo(id.Protected))
				row(w, "made", dayOrNot(id.Made, "not known"))
				row(w, "exported", dayOrNot(id.Exported, "never"))
				row(w, "words shown", dayOrNot(id.Shown, "never"))
				row(w, "words verified", dayOrNot(id.Verified, "never"))
				row(w, "file", plain(id.File))
				row(w, "catalog", plain(id.Catalog))
			})
		},
	}
}

func dayOrNot(t time.Time, not string) string {
	if t.IsZero() {
		return not
	}
	return t.Local().Format("2006-01-02")
}

// showIdentity reads what lies beside an identity, whose passphrase it asks for
// only if its owner is not noted there.
func showIdentity(ctx context.Context, user config.User, keys *keyring.File) (id identityShown, err error) {
	id = identityShown{Name: user.Name, File: user.Identity(), Catalog: user.Catalog()}
	if id.Protected, err = keys.Protected(); err != nil {
		return id, err
	}
	public, epoch, err := node.PublicOf(ctx, user, keys)
	if err != nil {
		return id, err
	}
	id.Owner, id.Recipient, id.Epoch = public.Owner, public.Recipient, epoch
	for _, mark := range []struct {
		at   *time.Time
		read func() (time.Time, error)
	}{{&id.Made, keys.Made}, {&id.Exported, keys.Exported}, {&id.Shown, keys.Shown}, {&id.Verified, keys.Verified}} {
		if *mark.at, err = mark.read(); err != nil {
			return id, err
		}
	}
	return id, nil
}
