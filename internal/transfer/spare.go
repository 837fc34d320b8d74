package transfer

import (
	"context"

	"datamesh"
	"datamesh/internal/errs"
)

// Spare tells a peer that one of its shards may be more than there need to be.
// What it makes of that is its own affair. Kinds: Network, Unavailable.
func (c *Client) Spare(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	_, _, err := c.call(ctx, peer, request{Op: opSpare, Keys: wireKeys([]datamesh.ShardKey{key})}, exchange{silence: getSilence})
	return err
}

// Pledge asks a peer whether it has a shard and will keep it for some time, so
// that another copy can be given up. It is nil if so. Kinds: FileNotFound,
// Integrity, Unavailable (it is to keep it no longer itself), Network.
func (c *Client) Pledge(ctx context.Context, peer datamesh.PeerID, key datamesh.ShardKey) error {
	_, _, err := c.call(ctx, peer, request{Op: opPledge, Keys: wireKeys([]datamesh.ShardKey{key})}, exchange{silence: inventorySilence})
	return err
}

func theKey(req *request) (datamesh.ShardKey, error) {
	if len(req.Keys) != 1 {
		return datamesh.ShardKey{}, errs.New(errs.Invalid, "request %d of %d shards", req.Op, len(req.Keys))
	}
	return shardKeys(req.Keys)[0], nil
}
