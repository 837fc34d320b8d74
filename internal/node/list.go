package node

import "context"

// List returns the user's catalog, the newest object first.
func (n *Node) List(ctx context.Context) (*List, error) {
	list := &List{Objects: []Object{}}
	for e, err := range n.catalog.List(ctx) {
		if err != nil {
			return nil, err
		}
		list.Objects = append(list.Objects, Object{ID: e.ID, Name: e.Name, Size: e.Size, Tags: append([]string{}, e.Tags...), Created: e.Created,
			Type: e.Type, Mode: e.Mode, ModTime: e.ModTime})
	}
	return list, nil
}
