package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
	"datamesh/internal/metrics"
	"datamesh/internal/object"
	"datamesh/internal/store"
)

// What a node does is counted, and its operator is told of it, here: other
// packages only have hooks. No name of an object and nothing of its content
// goes into a log; docs/logs.md lists what
// there is to read.

// local returns the node's own store, with what passes through it counted.
func (n *Node) local(disk *store.Disk) datamesh.ShardStore {
	return n.metrics.Shards(metrics.Local, &watched{ShardStore: disk, log: n.log})
}

// remote returns the stores of peers, counted.
func (n *Node) remote(l *link) func(datamesh.PeerID) datamesh.ShardStore {
	return func(peer datamesh.PeerID) datamesh.ShardStore {
		return n.metrics.Shards(metrics.Remote, l.client.Shards(peer))
	}
}

func (n *Node) meshEvents() mesh.Events {
	return mesh.Events{RingCalled: n.metrics.RingCalled, RingServed: n.metrics.RingServed}
}

func (n *Node) objectEvents() object.Events {
	return object.Events{
		Late:  func(datamesh.PeerID) { n.metrics.LateShard() },
		Along: n.metrics.ShardAlong,
		Bad: func(b object.BadShard) {
			n.metrics.BadShard(b.Reason)
			if errors.Is(b.Reason, errs.Integrity) {
				n.log.Warn("a peer serves a damaged shard", "peer", b.Peer, "segment", b.Key.Segment, "index", b.Key.Index, "error", b.Reason)
			}
		},
	}
}

func (n *Node) storeEvents() store.Events {
	return store.Events{
		Rebuilt: func(aside string, files, rows int) {
			n.log.Warn("the index of the store was missing or damaged and has been rebuilt", "files", files, "rows", rows, "damaged", aside)
			if n.opt.Warn != nil {
				n.opt.Warn(rebuiltText(aside, files, rows))
			}
		},
		Lost: func(key datamesh.ShardKey) {
			n.log.Error("a shard's file is gone", "segment", key.Segment, "index", key.Index)
		},
		Strange: func(path string, err error) {
			n.log.Warn("a file in the store is not one of its own", "file", path, "error", err)
		},
	}
}

// rebuiltText says that the index of a store was made again, and where the
// damaged one is.
func rebuiltText(aside string, files, rows int) string {
	what := "was missing"
	if aside != "" {
		what = "was damaged, and moved to " + aside
	}
	return fmt.Sprintf("the index of the store %s; the new one has the %d shards that could be saved", what, files+rows)
}

// begun tells the operator of a service that it serves.
func (n *Node) begun() {
	if n.opt.Role != Storage {
		return
	}
	u := n.link.disk.Usage()
	n.log.Info("the node serves", "version", n.opt.Version, "peer", n.link.self, "mesh", n.link.net.Genesis().MeshID(),
		"addresses", n.Addrs(), "capacity", u.Capacity, "used", u.Used, "members", n.link.view().Len())
}

// ends tells the operator of a service that it shuts down, and returns a
// function that tells when that is done.
func (n *Node) ends() func() {
	if n.opt.Role != Storage || n.link == nil {
		return func() {}
	}
	n.log.Info("the node shuts down", "uptime_seconds", time.Since(n.started).Seconds())
	return func() { n.log.Info("the node has ended") }
}

// putEnded takes note of a put that began then.
func (n *Node) putEnded(began time.Time, s *Stored, err error) {
	took := time.Since(began)
	if err != nil {
		n.metrics.PutEnded(0, took, err)
		n.failed("a put failed", took, err)
		return
	}
	n.metrics.PutEnded(s.Size, took, nil)
	n.log.Info("an object was put", "object", s.ID, "bytes", s.Size, "segments", s.Segments, "shards", s.Shards,
		"peers", s.Peers, "survives", s.Survives, "seconds", took.Seconds())
}

// getEnded takes note of a get that began then. The id may be zero if the get
// has failed.
func (n *Node) getEnded(began time.Time, id datamesh.ObjectID, f *Fetched, err error) {
	took := time.Since(began)
	if err != nil {
		n.metrics.GetEnded(0, took, err)
		var object []any
		if id != (datamesh.ObjectID{}) {
			object = []any{"object", id}
		}
		n.failed("a get failed", took, err, object...)
		return
	}
	n.metrics.GetEnded(f.Bytes(), took, nil)
	if f.Range != nil { // of which a reader of a large object wants hundreds a second
		n.log.Debug("a part of an object was got", "object", id, "bytes", f.Bytes(), "bad", len(f.Bad), "seconds", took.Seconds())
		return
	}
	n.log.Info("an object was got", "object", id, "bytes", f.Bytes(), "bad", len(f.Bad), "seconds", took.Seconds())
}

// failed logs an operation that its user has been told the error of. The
// error of a request that made no sense may quote it, and so a name.
func (n *Node) failed(what string, took time.Duration, err error, more ...any) {
	level, kind := slog.LevelWarn, errs.KindOf(err)
	args := append(more, "seconds", took.Seconds(), "kind", kind.Name())
	switch {
	case errors.Is(err, context.Canceled):
		level = slog.LevelInfo // its user's will
		args = append(args, "error", "interrupted")
	case kind == errs.Invalid || kind == errs.FileNotFound:
		level = slog.LevelInfo
	default:
		args = append(args, "error", err)
	}
	n.log.Log(context.Background(), level, what, args...)
}
