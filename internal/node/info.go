package node

import (
	"context"
	"time"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/object"
)

// Info asks the peers where the shards of an object are now, and, if they shall
// prove, has each prove its shards: one that cannot has none. Kinds: as
// [object.Objects.Get].
func (n *Node) Info(ctx context.Context, ref string, prove bool) (*Info, error) {
	ref, err := n.spelled(ctx, ref)
	if err != nil {
		return nil, err
	}
	id, err := n.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	state, err := l.objects.Info(ctx, id)
	if err != nil {
		return nil, l.absent(err)
	}
	r, proofs := l.reckoning(), l.proofs(ctx, state.Segments)
	if prove {
		n.prove(ctx, l, state, proofs)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	r.watched(format.Time(state.Manifest.Created), time.Now(), state.Survives < 0)
	info := &Info{ID: id, Name: n.nameOf(ctx, ref, id, state.Manifest.Name), Size: state.Manifest.Size, StoredBytes: storedBytes(state.Segments), Survives: state.Survives,
		Safety: r.safety(state.Segments, proofs), Basis: r.basis}
	if state.Text < info.Size {
		info.Packed = state.Text
	}
	if state.Survives >= 0 {
		info.Safety.Demonstrated = r.demonstrated(len(state.Segments))
	}
	for _, s := range state.Segments {
		segment := SegmentInfo{ID: s.ID, Shards: []ShardInfo{}}
		for _, shard := range s.Shards {
			at := proofs[holder{shard.Peer, datamesh.ShardKey{Segment: s.ID, Index: shard.Index}}]
			segment.Shards = append(segment.Shards, ShardInfo{Index: shard.Index, Peer: shard.Peer, Live: shard.Live, LastProof: at.UTC()})
		}
		info.Segments = append(info.Segments, segment)
	}
	return info, nil
}

// storedBytes returns how many bytes of shards peers say that they have.
func storedBytes(segments []object.SegmentState) (n int64) {
	for _, s := range segments {
		for _, who := range s.Holders() {
			n += int64(len(who)) * int64(s.Length)
		}
	}
	return n
}
