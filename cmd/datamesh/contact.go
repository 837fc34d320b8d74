package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/node"
)

func (c *cli) contactCommand() *cobra.Command {
	contact := c.group(&cobra.Command{
		Use:   "contact",
		Short: "know others, to share files with them",
	})
	contact.AddCommand(c.contactAddCommand(), c.contactListCommand(), c.contactRemoveCommand())
	return contact
}

func (c *cli) contactAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME ADDRESS",
		Short: "give a name to the address of somebody else",
		Long: `Remembers under NAME, which is for you alone, the ADDRESS of somebody with whom
you want to share: what "datamesh id" prints as address in his home. What files
are sealed to for him is read from his card in the mesh, which he has signed, and
which "datamesh inbox" puts there when he first types that. Whoever gives you the
address decides who reads: get it from himself. If he goes on as another identity
by now, and the one of ADDRESS has signed that, he is followed to it.

What he shares with you is in your inbox from now on.`,
		Args:              arity(2, 2),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				k, err := ops.AddContact(cmd.Context(), args[0], args[1])
				if err != nil {
					return fmt.Errorf("contact add: %w", err)
				}
				err = c.print(k, func(w io.Writer) { contactText(w, k) })
				c.warnAll(k.Warnings)
				if err == nil {
					c.next("share NAME --to %s", quoteWord(k.Name))
				}
				return err
			})
		},
	}
}

func (c *cli) contactListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list those with whom you share",
		Long: `Lists your contacts, with the address that each has by now, and those of who he was,
as far as this home has heard: "inbox" and "share" read it from their cards.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				all, err := ops.Contacts(cmd.Context())
				if err != nil {
					return err
				}
				for _, k := range all.Contacts {
					if k.Disputed {
						c.warn("two identities are claimed to succeed %s: ask him by another way which is his", k.Name)
					}
				}
				return c.print(all, func(w io.Writer) { contactsText(w, all) })
			})
		},
	}
}

func (c *cli) contactRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "forget somebody with whom you share nothing any more",
		Long: `Forgets a contact, by name or address. What he shares with you is not in your
inbox any more. Take back first what you share with him.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeContacts),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKeys(cmd.Context(), func(ops api.Operations) error {
				k, err := ops.RemoveContact(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("contact remove: %w", err)
				}
				return c.print(k, func(w io.Writer) { contactText(w, k) })
			})
		},
	}
}

func contactsText(w io.Writer, all *node.Contacts) {
	row(w, "NAME", "SINCE", "ADDRESS")
	for _, k := range all.Contacts {
		row(w, k.Name, localTime(k.Created), k.Address)
		for _, former := range k.Former {
			row(w, "", "formerly", former)
		}
	}
}

func contactText(w io.Writer, k *node.Contact) {
	row(w, "name", k.Name)
	row(w, "address", k.Address)
	for _, former := range k.Former {
		row(w, "formerly", former)
	}
}

// warnAll tells of what an operation has warned of.
func (c *cli) warnAll(warnings []string) {
	for _, text := range warnings {
		c.warn("%s", text)
	}
}
