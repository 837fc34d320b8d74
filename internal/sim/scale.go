package sim

import (
	"context"
	"time"
)

// A Scale says of what mesh the costs are counted, by the real code where that can be.
type Scale struct {
	Seed     uint64
	Nodes    int
	Machines int           // of package ring, that act for all nodes: see [Rings]
	Rest     time.Duration // for which the ring is watched at rest
	Events   int           // deaths, and joins, of which the mean is taken
	Objects  int           // that are put, and got
	Size     int           // bytes of each
}

// ScaleCosts is what a mesh costs.
type ScaleCosts struct {
	Nodes     int
	Ring      RingCosts
	Put, Get  Count
	Proof     Count   // of one shard, to one registrar
	Inventory Count   // told by a node that holds Held shards, once in repair.interval
	Table     float64 // bytes of memory for each member
}

// Held is how many shards a node holds that is at rest: some 4 GB, if they are of 4 MiB.
const Held = 1000

// Run counts.
func (s Scale) Run(ctx context.Context) (c ScaleCosts, err error) {
	c.Nodes = s.Nodes
	if c.Table, err = TableBytes(s.Seed, s.Nodes); err != nil {
		return c, err
	}
	w, err := NewRings(s.Seed, s.Nodes, s.Machines)
	if err != nil {
		return c, err
	}
	if c.Ring, err = w.Costs(s.Rest, s.Events); err != nil {
		return c, err
	}
	stores, err := NewStores(s.Seed, s.Nodes)
	if err != nil {
		return c, err
	}
	defer stores.Close()
	if c.Put, c.Get, err = stores.PutGet(ctx, s.Size, s.Objects); err != nil {
		return c, err
	}
	if c.Proof, err = stores.Proof(ctx); err != nil {
		return c, err
	}
	c.Inventory, err = stores.Inventory(ctx, Held)
	return c, err
}

// What a node does at rest, by default, and what of that nothing has counted.
const (
	repairInterval = time.Hour
	auditInterval  = 168 * time.Hour
	registrars     = 8

	leastConns, mostConns = 80, 128 // as package mesh keeps them

	lookPeers = 28   // asked in a lookup of Kademlia among 50, as measured
	lookBytes = 2000 // of an answer: 20 peers
)

// AtRest is what a node sends that nobody asks for anything, in bytes a second: as much as
// it receives.
type AtRest struct {
	Ring      float64 // probes, news, comparisons of tables
	Conns     float64 // connections that are kept and not used
	Inventory float64 // what it holds, told to the registrars
	Audits    float64 // proofs of that
	Look      float64 // about in Kademlia; on paper
}

// Sum returns all of it.
func (r AtRest) Sum() float64 { return r.Ring + r.Conns + r.Inventory + r.Audits + r.Look }

// AtRest returns what a node sends that holds [Held] shards. What goes to whom
// there may be no connection is dialled for.
func (c ScaleCosts) AtRest() AtRest {
	others, dial := float64(c.Nodes-1), 0.0
	conns := others
	if others > mostConns {
		conns = (leastConns + mostConns) / 2
		dial = wireDial * (1 - conns/others)
	}
	looks := max(16, float64(c.Nodes)/16) * 60 // seconds from one to the next
	return AtRest{
		Ring:      c.Ring.Rest,
		Conns:     conns * wireIdle / 2,
		Inventory: (c.Inventory.Wire() + dial*c.Inventory.Peers) / repairInterval.Seconds(),
		Audits:    Held * registrars * (c.Proof.Wire() + wireStream + dial) / auditInterval.Seconds(), // seldom enough for a stream each
		Look:      min(others, lookPeers) * (lookBytes + wireCall + wireStream + dial) / looks,
	}
}
