package node

import (
	"context"

	"datamesh/internal/metrics"
)

// Metrics returns the counters of this node.
func (n *Node) Metrics(ctx context.Context) (*Metrics, error) {
	s, err := n.Stats(ctx)
	if err != nil {
		return nil, err
	}
	state := metrics.State{Alive: s.Members.Alive, Suspect: s.Members.Suspect, Dead: s.Members.Dead,
		Connections: s.Members.Connected, CatalogObjects: s.Catalog.Objects, CatalogBytes: s.Catalog.Bytes}
	state.CacheMemory, state.CacheDisk = n.cached.Load().Usage()
	if d := s.Store; d != nil {
		state.Store = metrics.Store{Capacity: d.Capacity, Used: d.Used, Trash: d.Trash, Reserve: d.Reserve, Free: d.Free, Shards: d.Shards}
	}
	if l, err := n.connect(ctx); err == nil {
		if l.scrub != nil {
			state.Scrubbed = l.scrub.Ended()
		}
		if l.keeper != nil {
			state.WaitingSegments = l.keeper.Waiting()
		}
	}
	samples, err := n.metrics.Gather(state)
	if err != nil {
		return nil, err
	}
	return &Metrics{Metrics: samples}, nil
}
