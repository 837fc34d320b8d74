package transfer

import (
	"context"
	"errors"
	"iter"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
)

// A Client talks to the servers of other peers. It is safe for concurrent use.
type Client struct {
	pool  pool
	known knownRecords
}

// NewClient returns a client whose streams open makes.
func NewClient(open func(context.Context, datamesh.PeerID) (mesh.Stream, error)) *Client {
	return &Client{pool: pool{open: open, peers: map[datamesh.PeerID]*peerPool{}}}
}

// Close ends the streams that are kept open.
func (c *Client) Close() { c.pool.close() }

// Probe reports whether a peer is there: with nil if it answers, or sends
// anything at all; with an error of kind Unavailable or Network if not.
func (c *Client) Probe(ctx context.Context, peer datamesh.PeerID) error {
	for range 2 { // what was heard the first time may have been its last
		began := time.Now()
		_, _, err := c.call(ctx, peer, request{Op: opHas}, exchange{silence: probeSilence})
		if err == nil || ctx.Err() != nil || !c.pool.heardSince(peer, began) {
			return err
		}
	}
	return nil
}

// Shards returns the store of a peer. What it returns is verified, whatever
// the peer sends.
func (c *Client) Shards(peer datamesh.PeerID) datamesh.ShardStore { return &remote{c, peer} }

// Report tells a registrar who holds what. Kinds: Deleted, of some of the
// segments; Full, Network, Unavailable.
func (c *Client) Report(ctx context.Context, peer datamesh.PeerID, reports []store.Report) error {
	var deleted error
	for batch := range batches(reports) {
		_, _, err := c.call(ctx, peer, request{Op: opReport, Reports: batch}, exchange{silence: putSilence})
		if errors.Is(err, errs.Deleted) {
			deleted = err
		} else if err != nil {
			return err
		}
	}
	return deleted
}

// batches yields reports as they fit into one request.
func batches(reports []store.Report) iter.Seq[[]report] {
	return func(yield func([]report) bool) {
		var batch []report
		size := 0
		for _, r := range reports {
			w := report{Descriptor: format.EncodeDescriptor(r.Descriptor)}
			for _, h := range r.Holdings {
				w.Holders = append(w.Holders, holding{Index: h.Index, Peer: h.Peer})
			}
			for _, x := range r.Receipts {
				w.Receipts = append(w.Receipts, format.EncodeReceipt(x))
			}
			n := len(w.Descriptor) + 64*len(w.Holders) + format.MaxReceipt*len(w.Receipts) + 64
			if size+n > maxHeader/2 && len(batch) > 0 {
				if !yield(batch) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, w), size+n
		}
		yield(batch)
	}
}

// Locate asks a registrar who holds the shards of a segment. The descriptor
// is the segment's; the holders, if any, are a claim. Kinds: FileNotFound, Network,
// Unavailable.
func (c *Client) Locate(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	resp, _, err := c.call(ctx, peer, request{Op: opLocate, Keys: []key{{Segment: segment}}}, exchange{silence: getSilence})
	if err != nil {
		return nil, nil, err
	}
	d, err := descriptorOf(resp.Descriptor, segment)
	if err != nil {
		return nil, nil, err
	}
	holders, err := decodeHolders(d, resp.Holders)
	return d, holders, err
}

// maxAlong is the length up to which a shard comes along with where the others are.
const maxAlong = 64 << 10

// Find is as Locate, of a peer that may hold a shard of the segment itself: one of
// at most 64 KiB comes along, and is verified as that of a get is. The descriptor's
// signature is not checked: a reader does not need it.
func (c *Client) Find(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (found store.Found, err error) {
	req := request{Op: opLocate, Keys: []key{{Segment: segment}}, Count: maxAlong}
	resp, shard, err := c.call(ctx, peer, req, exchange{silence: getSilence, into: func(resp *response) ([]byte, error) {
		var err error
		if found.Descriptor, err = format.ReadDescriptorOf(resp.Descriptor, segment); err != nil {
			return nil, err
		}
		if found.Holdings, err = decodeHolders(found.Descriptor, resp.Holders); err != nil || resp.Length == 0 {
			return nil, err
		}
		n := found.Descriptor.ShardLen()
		if len(resp.Keys) != 1 || resp.Keys[0].Segment != segment || resp.Keys[0].Index < 0 || resp.Keys[0].Index >= len(found.Descriptor.Shards) ||
			resp.Length != n || n > maxAlong {
			return nil, errs.New(errs.Integrity, "%d bytes come along that are no small shard of the segment", resp.Length)
		}
		return make([]byte, n), nil
	}})
	if err != nil {
		return store.Found{}, err
	}
	if shard != nil {
		found.Index = resp.Keys[0].Index
		if found.Shard = shard; hash.Shard(shard) != found.Descriptor.Shards[found.Index] {
			found.Shard, found.Wrong = nil, errs.New(errs.Integrity, "the bytes are not those of the shard")
		}
	}
	return found, nil
}
