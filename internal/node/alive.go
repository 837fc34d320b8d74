package node

import "context"

// Alive reports with nil that the node gets round to its work. Kind:
// Unavailable.
func (n *Node) Alive(ctx context.Context) error {
	l, err := n.connect(ctx)
	if err != nil || l.net == nil {
		return err
	}
	return l.net.Alive(ctx)
}
