package node

import "context"

// Info asks the peers where the shards of an object are now. Kinds: as
// [object.Objects.Get].
func (n *Node) Info(ctx context.Context, ref string) (*Info, error) {
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
	info := &Info{ID: id, Name: state.Manifest.Name, Size: state.Manifest.Size, Survives: state.Survives}
	for _, s := range state.Segments {
		segment := SegmentInfo{ID: s.ID, Shards: []ShardInfo{}}
		for _, shard := range s.Shards {
			segment.Shards = append(segment.Shards, ShardInfo{Index: shard.Index, Peer: shard.Peer, Live: shard.Live})
		}
		info.Segments = append(info.Segments, segment)
	}
	return info, nil
}
