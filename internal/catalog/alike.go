package catalog

import (
	"context"
	"slices"

	"datamesh/internal/tree"
)

// Alike returns the names in the catalog that differ from one only in how Unicode
// composes their letters, in order. It looks at all of them.
func (c *Catalog) Alike(ctx context.Context, name string) (names []string, err error) {
	form := tree.Composed(name)
	c.entries(ctx, selection{text: `SELECT ` + c.columns + c.further + `, row FROM object WHERE ` + c.live}, func(e Entry, failed error) bool {
		for _, is := range e.Names() {
			if is != name && tree.Composed(is) == form {
				names = append(names, is)
			}
		}
		err = failed
		return true
	})
	slices.Sort(names)
	return slices.Compact(names), err
}
