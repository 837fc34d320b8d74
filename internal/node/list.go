package node

import (
	"context"
	"slices"
	"time"

	"datamesh/internal/catalog"
)

// List calls each with what is asked for of the user's catalog, without holding it
// in memory, and ends with the first error of that. Kind: Invalid.
func (n *Node) List(ctx context.Context, o ListOptions, each func(Object) error) error {
	found := n.catalog.Select(ctx, catalog.Query{Pattern: o.Pattern, Tag: o.Tag, Type: o.Type, Larger: o.Larger, Smaller: o.Smaller,
		After: o.After, Before: o.Before, Sort: o.Sort, Limit: o.Limit})
	if len(o.Words) > 0 {
		found = n.catalog.Search(ctx, o.Words)
	}
	listed := 0
	for e, err := range found {
		if err == nil {
			err = each(Object{ID: e.ID, Name: e.Name, Size: e.Size, Tags: append([]string{}, e.Tags...), Created: e.Created,
				Type: e.Type, Mode: e.Mode, ModTime: e.ModTime, Pinned: e.Pinned})
		}
		if err != nil {
			return err
		}
		if listed++; listed == o.Limit {
			break
		}
	}
	return nil
}

// Versions returns the objects that have a name, the newest first, and those that
// had it when they were deleted and can still be brought back. Kind: FileNotFound.
func (n *Node) Versions(ctx context.Context, name string) (*Versions, error) {
	name, err := n.spelled(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := n.versions(ctx, name)
	if err == nil && len(v.Versions) == 0 && n.heardOf(ctx) {
		v, err = n.versions(ctx, name)
	}
	if err == nil && len(v.Versions) == 0 {
		_, err = n.catalog.ByName(ctx, name)
	}
	return v, err
}

func (n *Node) versions(ctx context.Context, name string) (*Versions, error) {
	all, err := n.catalog.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	v := &Versions{Name: name, Versions: []Version{}}
	for _, e := range all {
		x := Version{ID: e.ID, Size: e.Size, Created: e.Created, Tags: append([]string{}, e.Tags...), Pinned: e.Pinned}
		if !e.Deleted.IsZero() {
			x.Deleted, x.Until = e.Deleted, e.Deleted.Add(trashTime)
			if e.Final || x.Until.Before(time.Now()) {
				continue
			}
		}
		v.Versions = append(v.Versions, x)
	}
	slices.SortStableFunc(v.Versions, func(a, b Version) int { return b.Created.Compare(a.Created) })
	return v, nil
}
