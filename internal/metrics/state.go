package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A State is what a node is at one moment, in figures that are not counted up
// but looked at. Sizes are bytes.
type State struct {
	Alive, Suspect, Dead int // members, this node included
	Connections          int
	Store                Store     // zero in a node that stores nothing
	Scrubbed             time.Time // when all shards of the store had been read; zero: not yet
	WaitingSegments      int       // that are not whole, of those that the node keeps track of
	CacheMemory          int64
	CacheDisk            int64
	CatalogObjects       int64
	CatalogBytes         int64
}

// A Store is how the room of a store is divided.
type Store struct{ Capacity, Used, Trash, Reserve, Free, Shards int64 }

// state has the gauges of a State.
type state struct {
	members     *prometheus.GaugeVec // state
	connections *prometheus.GaugeVec

	capacity, used, trash, reserve, free, shards *prometheus.GaugeVec
	scrubbed, waiting                            *prometheus.GaugeVec
	objects, bytes, cached                       *prometheus.GaugeVec
}

func newState(r prometheus.Registerer) state {
	return state{
		members:     gauges(r, "members", "Storage members that the mesh remembers, this node included, by what this node believes of them.", "state"),
		connections: gauges(r, "connections", "Peers that there is a connection to, clients included."),
		capacity:    gauges(r, "store_capacity_bytes", "Bytes that the store may use: used + trash + reserve + free."),
		used:        gauges(r, "store_used_bytes", "Bytes that shards take."),
		trash:       gauges(r, "store_trash_bytes", "Bytes that shards take which were deleted and can be brought back."),
		reserve:     gauges(r, "store_reserve_bytes", "Bytes that no shard may take."),
		free:        gauges(r, "store_free_bytes", "Bytes that shards may still take."),
		shards:      gauges(r, "store_shards", "Shards in the store."),
		scrubbed:    gauges(r, "scrubbed_timestamp_seconds", "When the last pass over all shards of the store ended, in Unix time; 0: none has."),
		waiting:     gauges(r, "repair_waiting_segments", "Segments that this node keeps track of and that wait for repair, or are being repaired."),
		cached:      gauges(r, "cache_bytes", "Bytes of what was read lately and is kept.", "tier"),
		objects:     gauges(r, "catalog_objects", "Objects in the catalog of this home."),
		bytes:       gauges(r, "catalog_bytes", "Bytes of content of the objects in the catalog of this home."),
	}
}

func (g *state) set(s State) {
	var scrubbed int64
	if !s.Scrubbed.IsZero() {
		scrubbed = s.Scrubbed.Unix()
	}
	for _, x := range []struct {
		gauge prometheus.Gauge
		value int64
	}{
		{g.members.WithLabelValues("alive"), int64(s.Alive)},
		{g.members.WithLabelValues("suspect"), int64(s.Suspect)},
		{g.members.WithLabelValues("dead"), int64(s.Dead)},
		{g.connections.WithLabelValues(), int64(s.Connections)},
		{g.capacity.WithLabelValues(), s.Store.Capacity},
		{g.used.WithLabelValues(), s.Store.Used},
		{g.trash.WithLabelValues(), s.Store.Trash},
		{g.reserve.WithLabelValues(), s.Store.Reserve},
		{g.free.WithLabelValues(), s.Store.Free},
		{g.shards.WithLabelValues(), s.Store.Shards},
		{g.scrubbed.WithLabelValues(), scrubbed},
		{g.waiting.WithLabelValues(), int64(s.WaitingSegments)},
		{g.cached.WithLabelValues("memory"), s.CacheMemory},
		{g.cached.WithLabelValues("disk"), s.CacheDisk},
		{g.objects.WithLabelValues(), s.CatalogObjects},
		{g.bytes.WithLabelValues(), s.CatalogBytes},
	} {
		x.gauge.Set(float64(x.value))
	}
}
