package transfer

import (
	"bytes"
	"context"
	"crypto/ed25519"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Limits of one answer to [Client.Owned].
const (
	maxScan  = 2048 // segments of whomever that a server looks at
	maxOwned = 512  // descriptors
)

// An OwnedAsk asks for an owner's segments, greater than After.
type OwnedAsk struct {
	Owner     datamesh.OwnerKey
	Signature [ed25519.SignatureSize]byte // as [format.SignOwned] makes it, for the peer that is asked and the one that asks
	After     datamesh.SegmentID
}

// Owned asks a peer for an owner's segments of which it has shards, or keeps track,
// and returns some of them, in their order, each signed by him, and where to go on;
// more is false if these are the last. It may have none and go on nevertheless. A
// peer can hide what it has, and invent nothing. Kinds: Network, Unavailable,
// Authentication (the owner has not signed that this peer may ask that one, or a
// segment is not his), Serialization.
func (c *Client) Owned(ctx context.Context, peer datamesh.PeerID, ask OwnedAsk) (list []*datamesh.Descriptor, next datamesh.SegmentID, more bool, err error) {
	resp, _, err := c.call(ctx, peer, request{Op: opOwned, Owner: ask.Owner[:], Signature: ask.Signature[:], Keys: []key{{Segment: ask.After}}},
		exchange{silence: inventorySilence})
	if err != nil {
		return nil, next, false, err
	}
	if len(resp.Owned) > maxOwned || len(resp.Next) != 0 && len(resp.Next) != len(next) {
		return nil, next, false, errs.New(errs.Serialization, "owned: %d descriptors, limit %d, and a segment of %d bytes", len(resp.Owned), maxOwned, len(resp.Next))
	}
	last := ask.After
	for _, b := range resp.Owned {
		d, err := format.DecodeDescriptor(b)
		if err != nil {
			return nil, next, false, err
		}
		if d.Owner != ask.Owner {
			return nil, next, false, errs.New(errs.Authentication, "owned: segment %s is of another owner", d.Segment)
		}
		if bytes.Compare(d.Segment[:], last[:]) <= 0 {
			return nil, next, false, errs.New(errs.Serialization, "owned: segment %s is not in its place", d.Segment)
		}
		last = d.Segment
		list = append(list, d)
	}
	if more = len(resp.Next) > 0; more {
		next = datamesh.SegmentID(resp.Next)
	}
	if more && (bytes.Compare(next[:], last[:]) < 0 || next == ask.After) {
		return nil, next, false, errs.New(errs.Serialization, "owned: it does not go on")
	}
	return list, next, more, nil
}

// owned answers what Owned asks, with as many as one answer has room for.
func (s *Server) owned(ctx context.Context, from datamesh.PeerID, req *request) (resp response, err error) {
	var ask OwnedAsk
	if len(req.Owner) != len(ask.Owner) || len(req.Signature) != len(ask.Signature) || len(req.Keys) != 1 {
		return resp, errs.New(errs.Invalid, "owned: an owner of %d bytes, a signature of %d, %d segments", len(req.Owner), len(req.Signature), len(req.Keys))
	}
	ask = OwnedAsk{datamesh.OwnerKey(req.Owner), [ed25519.SignatureSize]byte(req.Signature), req.Keys[0].Segment}
	list, last, more, err := s.registry.Owned(ctx, from, ask, maxScan)
	if err != nil {
		return resp, err
	}
	size := 0
	for i, d := range list {
		b := format.EncodeDescriptor(d)
		if size += len(b) + 8; size > maxHeader-4<<10 || i == maxOwned {
			last, more = list[i-1].Segment, true // one alone always has room
			break
		}
		resp.Owned = append(resp.Owned, b)
	}
	if more {
		resp.Next = last[:]
	}
	return resp, nil
}
