package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/catalog"
	"datamesh/internal/config"
)

// fromCatalog completes a word from the user's catalog.
func (c *cli) fromCatalog(cmd *cobra.Command, candidates func(ctx context.Context, cat *catalog.Catalog, offer func(value, about string) bool) error) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(ctx context.Context, offer func(value, about string) bool) error {
		home, err := config.FindHome(c.homeDir)
		if err != nil {
			return err
		}
		user, err := c.userOf(home)
		if err != nil {
			return err
		}
		cat, err := catalog.OpenToRead(ctx, user.Catalog())
		if err != nil {
			return err
		}
		defer cat.Close()
		return candidates(ctx, cat, offer)
	})
}

// completeObjects completes ID|NAME from the catalog: names, and ids once one
// is begun or there is no name.
func (c *cli) completeObjects(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.fromCatalog(cmd, func(ctx context.Context, cat *catalog.Catalog, offer func(value, about string) bool) error {
		seen := map[string]bool{}
		for e, err := range cat.Select(ctx, catalog.Query{}) {
			if err != nil {
				return err
			}
			about := size(e.Size) + ", " + localTime(e.Created)
			value := e.Name
			if id := e.ID.String(); e.Name == "" || word != "" && strings.HasPrefix(id, word) {
				value, about = id, e.Name+" "+about
			}
			if seen[value] || !strings.HasPrefix(value, word) {
				continue
			}
			seen[value] = true
			if !offer(value, about) {
				return nil
			}
		}
		return nil
	})
}

// completeContacts completes the name of a contact.
func (c *cli) completeContacts(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.fromCatalog(cmd, func(ctx context.Context, cat *catalog.Catalog, offer func(value, about string) bool) error {
		known, err := cat.Contacts(ctx)
		for _, k := range known {
			if strings.HasPrefix(k.Name, word) && !offer(k.Name, k.Owner.Address()) {
				return nil
			}
		}
		return err
	})
}

// completeTags completes the last of several tags from those that files have.
func (c *cli) completeTags(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before, begun := "", word
	if i := strings.LastIndex(word, ","); i >= 0 {
		before, begun = word[:i+1], word[i+1:]
	}
	return c.fromCatalog(cmd, func(ctx context.Context, cat *catalog.Catalog, offer func(value, about string) bool) error {
		seen := strings.Split(before, ",")
		for e, err := range cat.Select(ctx, catalog.Query{}) {
			if err != nil {
				return err
			}
			for _, tag := range e.Tags {
				if !strings.HasPrefix(tag, begun) || slices.Contains(seen, tag) {
					continue
				}
				seen = append(seen, tag)
				if !offer(before+tag, "") {
					return nil
				}
			}
		}
		return nil
	})
}

// completeDeleted completes ID|NAME from what was deleted.
func (c *cli) completeDeleted(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.fromCatalog(cmd, func(ctx context.Context, cat *catalog.Catalog, offer func(value, about string) bool) error {
		for e, err := range cat.Deleted(ctx) {
			if err != nil {
				return err
			}
			value, about := e.Name, size(e.Size)+", deleted "+localTime(e.Deleted)
			if id := e.ID.String(); e.Name == "" || word != "" && strings.HasPrefix(id, word) {
				value, about = id, e.Name+" "+about
			}
			if !e.Final && strings.HasPrefix(value, word) && !offer(value, about) {
				return nil
			}
		}
		return nil
	})
}
