package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// withNode runs f with the operations of the home's running node, or else with
// those of a client that is part of this process.
func (c *cli) withNode(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return c.nodeOf(ctx, o, anyUser, f)
}

// withCatalog is withNode for what is in the catalog of the user, or goes there.
// A running node that is another identity's does not do that; then a client does.
func (c *cli) withCatalog(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return c.nodeOf(ctx, o, ofUser, f)
}

// anyUser and ofUser say whether a node will do that runs in the home.
func anyUser(context.Context, *api.Client, node.Options) (bool, error) { return true, nil }

func ofUser(ctx context.Context, running *api.Client, o node.Options) (bool, error) {
	if several, err := o.Home.Several(); err != nil || !several {
		return err == nil, err
	}
	id, err := running.Identity(ctx)
	return id.Name == o.User.Name, err
}

// openToUser is ofUser, and asks that the node has the keys open.
func openToUser(ctx context.Context, running *api.Client, o node.Options) (bool, error) {
	id, err := running.Identity(ctx)
	return id.Name == o.User.Name && !id.Locked, err
}

// nodeOf runs f with the operations of the home's running node, if that will do,
// or else with those of a client.
func (c *cli) nodeOf(ctx context.Context, o node.Options, does func(context.Context, *api.Client, node.Options) (bool, error), f func(api.Operations) error) error {
	return c.noticeIdentity(o.User, func() error {
		if err := o.Home.Make(); err != nil {
			return err
		}
		client, err := api.Dial(ctx, o.Home.Socket())
		if err == nil {
			defer client.Close()
			if err := c.checkBootstrap(ctx, client, o); err != nil {
				return err
			}
			if ok, err := does(ctx, client, o); err != nil {
				return err
			} else if ok {
				return f(client)
			}
		} else if !errors.Is(err, errs.NoNode) {
			return err
		}
		return c.asClient(ctx, o, f)
	})
}

// asClient runs f with the operations of a client that is part of this process.
func (c *cli) asClient(ctx context.Context, o node.Options, f func(api.Operations) error) error {
	n, err := node.Open(ctx, o)
	if err != nil {
		return err
	}
	err = f(n)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed) // what f did is done
	}
	return err
}

// withKeys is withCatalog for what needs the keys of the user. If they have a
// passphrase that the home's running node does not know, this process asks for
// it and does the work, as a client: neither it nor the keys go anywhere.
func (c *cli) withKeys(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	byNode := false
	err = c.withOpenKeys(ctx, o, func(ops api.Operations) error {
		_, here := ops.(*node.Node)
		byNode = !here
		return f(ops)
	})
	if !byNode || !errors.Is(err, errs.Decryption) {
		return err
	}
	// The node runs no plugins, one of which may have the key.
	if ring, e := o.Keys.Load(); e != nil || len(ring.Plugins) == 0 {
		return err
	}
	return c.asClient(ctx, o, f)
}

func (c *cli) withOpenKeys(ctx context.Context, o node.Options, f func(api.Operations) error) error {
	if sealed, err := o.Keys.Protected(); err != nil || !sealed {
		return c.nodeOf(ctx, o, ofUser, f) // which says what is wrong with them, if anything is
	}
	return c.nodeOf(ctx, o, openToUser, opened(o, f))
}

// opened is f, before which a client has the keys opened: not below a progress
// bar.
func opened(o node.Options, f func(api.Operations) error) func(api.Operations) error {
	return func(ops api.Operations) error {
		if _, here := ops.(*node.Node); here {
			if _, err := o.Keys.Load(); err != nil && !errors.Is(err, errs.FileNotFound) {
				return err
			}
		}
		return f(ops)
	}
}

// withPlugins is withKeys for what needs the programs of plugins: a client does
// that, whether a node runs or not.
func (c *cli) withPlugins(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	never := func(context.Context, *api.Client, node.Options) (bool, error) { return false, nil }
	return c.nodeOf(ctx, o, never, opened(o, f))
}

// withList is withCatalog for what only reads the catalog: a client does that, whether
// a node runs or not, as it would take both of them longer to pass each object on. Where
// a member is named that it has to meet, a node is asked.
func (c *cli) withList(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	switch {
	case err != nil:
		return err
	case len(o.Bootstrap) > 0:
		return c.nodeOf(ctx, o, ofUser, f)
	}
	return c.asClient(ctx, o, f)
}

// withService runs f with the operations of the home's running node, and not
// without one: it is for what the node of one command does not have. Kind:
// NoNode.
func (c *cli) withService(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	client, err := api.Dial(ctx, o.Home.Socket())
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// checkBootstrap refuses a member of another mesh than that of the home's
// running node, which would make no use of it. One that the node does not know
// is met as a client would. Kinds: Authentication, Unavailable.
func (c *cli) checkBootstrap(ctx context.Context, running api.Operations, o node.Options) error {
	if len(o.Bootstrap) == 0 {
		return nil
	}
	self, err := running.Identity(ctx)
	if err != nil || self.PeerID == o.Bootstrap[0].ID {
		return err
	}
	known, err := running.Peers(ctx)
	if err != nil || slices.ContainsFunc(known.Peers, func(p node.Peer) bool { return p.PeerID == o.Bootstrap[0].ID }) {
		return err
	}
	n, err := node.Open(ctx, o)
	if err != nil {
		return err
	}
	if err := closeNode(ctx, n); err != nil {
		c.warn("leave the mesh: %v", err)
	}
	return nil
}

// closeNode closes n even when ctx has ended, but does not wait for ever.
func closeNode(ctx context.Context, n *node.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return n.Close(ctx)
}
