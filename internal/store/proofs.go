package store

import (
	"context"
	"database/sql"
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
			b.exec(`INSERT OR REPLACE INTO proofs (segment, idx, peer, proven)
				SELECT segment, idx, peer, ? FROM holders WHERE segment = ? AND idx = ? AND peer = ?`,
				p.At.Unix(), p.Key.Segment[:], p.Key.Index, p.Peer[:])
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
		err := d.index.rows(func(rows *sql.Rows) error {
			p := Proof{Key: datamesh.ShardKey{Segment: segment}}
			var peer sql.RawBytes
			var at int64
			err := rows.Scan(&p.Key.Index, &peer, &at)
			copy(p.Peer[:], peer)
			p.At = time.Unix(at, 0)
			list = append(list, p)
			return err
		}, `SELECT idx, peer, proven FROM proofs WHERE segment = ? ORDER BY idx, peer`, segment[:])
		if err != nil {
			return nil, errs.New(kindOf(err), "store: proofs of %s: %w", segment, err)
		}
	}
	return list, nil
}
