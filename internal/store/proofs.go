package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A Proof is that a peer has shown a shard, or a part of it that was drawn by
// whoever asked, at that time.
type Proof struct {
	Key  datamesh.ShardKey
	Peer datamesh.PeerID
	At   time.Time // to the second
}

// Proven takes down what was proven. It is kept for as long as the peer is in
// the holder map, and nothing is of one that is not. Kinds: Unavailable, Full,
// Database.
func (d *Disk) Proven(ctx context.Context, proofs []Proof) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	return d.commit(func(b *batch) error {
		for _, p := range proofs {
			was := b.holders(p.Key.Segment)
			if i := was.find(p.Key.Index, b.number(p.Peer)); i >= 0 {
				now := slices.Clone(was)
				now[i].proven = max(0, p.At.Unix())
				b.setHolders(p.Key.Segment, was, now)
			}
		}
		return nil
	})
}

// Proofs returns the last proof by each holder of the segments' shards, by
// segment and index. Kinds: Unavailable, Database.
func (d *Disk) Proofs(ctx context.Context, segments []datamesh.SegmentID) (list []Proof, err error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	for _, segment := range segments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		proofs, err := d.proofs(segment)
		if err != nil {
			return nil, errs.New(kindOf(err), "store: proofs of %s: %w", segment, err)
		}
		list = append(list, proofs...)
	}
	return list, nil
}

func (d *Disk) proofs(segment datamesh.SegmentID) (list []Proof, err error) {
	var value []byte
	err = d.index.row(`SELECT holders FROM segments WHERE segment = ?`, []any{segment[:]}, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, h := range readHolders(value) {
		if h.proven == 0 {
			continue
		}
		peer, known, err := d.index.peer(h.peer)
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, Proof{datamesh.ShardKey{Segment: segment, Index: h.index}, peer, time.Unix(h.proven, 0)})
		}
	}
	return list, nil
}
