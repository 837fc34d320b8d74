package node

import (
	"context"
	"time"

	"datamesh/internal/config"
	"datamesh/internal/mesh"
)

// Greet asks a peer, as a stranger and without a home, which mesh it is of.
// Kinds: as [mesh.Greet].
func Greet(ctx context.Context, p config.Peer) (Greeting, error) {
	g, err := mesh.Greet(ctx, Agent, mesh.Peer{ID: p.ID, Addr: p.Addr})
	return Greeting{Peer: g.Peer, Mesh: g.Mesh, LatencyMS: float64(g.Latency) / float64(time.Millisecond)}, err
}
