//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	network "datamesh/internal/mesh"
	"datamesh/internal/node"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// A liar is a member of a mesh that speaks the protocol and says nothing true:
// it takes every shard and keeps none, claims to hold all that it has heard of,
// serves other bytes, with proofs that are sound for those, names false
// holders, and keeps no promise.
type liar struct {
	*network.Net
	*transfer.Client
	key    ed25519.PrivateKey
	honest []datamesh.PeerID
	leave  func()

	mu    sync.Mutex // guards heard
	heard map[datamesh.SegmentID]*datamesh.Descriptor
}

// liar has a liar join the mesh, and waits until all members see it.
func (m *mesh) liar(t *testing.T) *liar {
	t.Helper()
	l := &liar{heard: map[datamesh.SegmentID]*datamesh.Descriptor{}}
	self, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.key = key
	for _, x := range m.members {
		l.honest = append(l.honest, x.ready.PeerID)
	}
	server := transfer.NewServer(datamesh.PeerID(self), liarStore{l}, nil, liarRegistry{l})
	door := m.members[0].ready
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	l.Net, err = network.New(ctx, network.Config{Key: l.key, Role: ring.Storage, Probe: time.Second, Agent: node.Agent,
		Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Usage:  func() (int64, int64) { return 1 << 40, 0 },
		Join:   []network.Peer{{ID: door.PeerID, Addr: nearestAddr(door.Addrs)}},
		Serve:  map[string]func(context.Context, datamesh.PeerID, network.Stream){transfer.Protocol: server.Handle}})
	if err != nil {
		t.Fatal(err)
	}
	l.Client = transfer.NewClient(func(ctx context.Context, peer datamesh.PeerID) (network.Stream, error) {
		return l.Open(ctx, peer, transfer.Protocol)
	})
	l.leave = sync.OnceFunc(func() {
		l.Client.Close()
		if err := l.Net.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.leave)
	for _, x := range m.members {
		eventually(t, x.home+" sees the liar", func() bool {
			return result[node.Stats](t, x.run(t, "stats")).Members.Alive == len(m.members)+1
		})
	}
	return l
}

func (l *liar) hear(d *datamesh.Descriptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[d.Segment] = d
}

// all returns the descriptors that the liar has heard of, and the keys of all
// their shards, which it claims.
func (l *liar) all() (list []*datamesh.Descriptor, keys []datamesh.ShardKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.heard {
		list = append(list, d)
		for i := range d.Shards {
			keys = append(keys, datamesh.ShardKey{Segment: d.Segment, Index: i})
		}
	}
	slices.SortFunc(keys, datamesh.ShardKey.Compare)
	return list, keys
}

// lie makes up the bytes of a shard.
func (l *liar) lie(key datamesh.ShardKey) (*datamesh.Descriptor, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.heard[key.Segment]
	if d == nil {
		return nil, nil, errs.New(errs.FileNotFound, "not even a lie")
	}
	return d, bytes.Repeat([]byte{byte(key.Index)}, d.ShardLen()), nil
}

// liarStore is the store of a liar.
type liarStore struct{ *liar }

func (l liarStore) Put(_ context.Context, d *datamesh.Descriptor, _ int, _ []byte) error {
	l.hear(d)
	return nil
}

func (l liarStore) Get(_ context.Context, key datamesh.ShardKey, _ []byte) (*datamesh.Descriptor, []byte, error) {
	return l.lie(key)
}

func (l liarStore) GetRange(_ context.Context, key datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := l.lie(key)
	if err != nil {
		return nil, nil, err
	}
	outboard, _ := hash.Outboard(shard)
	slice, err := hash.Slice(bytes.NewReader(shard), len(shard), outboard, off, n)
	return d, slice, err
}

func (l liarStore) Has(_ context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(keys)), nil
}

func (l liarStore) List(context.Context, datamesh.ShardKey, int) ([]datamesh.ShardKey, error) {
	return nil, nil
}

func (l liarStore) Drop(context.Context, *datamesh.Deletion) error { return nil }

// liarRegistry is what a liar knows as a registrar.
type liarRegistry struct{ *liar }

func (l liarRegistry) Report(_ context.Context, _ datamesh.PeerID, reports []store.Report) error {
	for _, r := range reports {
		l.hear(r.Descriptor)
	}
	return nil
}

func (l liarRegistry) Locate(_ context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	d, _, err := l.lie(datamesh.ShardKey{Segment: segment})
	if err != nil {
		return nil, nil, err
	}
	return d, l.falseHolders(d), nil
}

// falseHolders has, of each shard, the liar, and a member that has another.
func (l *liar) falseHolders(d *datamesh.Descriptor) (list []store.Holding) {
	for i := range d.Shards {
		list = append(list, store.Holding{Index: i, Peer: l.ID()}, store.Holding{Index: i, Peer: l.honest[(i+int(d.Segment[0]))%len(l.honest)]})
	}
	return list
}

func (liarRegistry) Compare(context.Context, datamesh.PeerID, transfer.Sums) ([]int, error) {
	return nil, nil
}

func (liarRegistry) Holds(context.Context, datamesh.PeerID, transfer.Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	return nil, nil, nil
}

func (liarRegistry) Words(context.Context, datamesh.PeerID, transfer.Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	return nil, nil, nil
}

func (liarRegistry) Proofs(context.Context, []datamesh.SegmentID) ([]store.Proof, error) {
	return nil, nil
}

func (liarRegistry) Receipts(context.Context, datamesh.SegmentID) ([]*datamesh.Receipt, error) {
	return nil, nil
}

func (liarRegistry) PutRecord(context.Context, datamesh.PeerID, *datamesh.Record) error { return nil }

func (liarRegistry) Records(context.Context, datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	return func(func(*datamesh.Record, error) bool) {}
}

// Owned tells anybody of all that it has heard of, whoever owns it.
func (l liarRegistry) Owned(context.Context, datamesh.PeerID, transfer.OwnedAsk, int) ([]*datamesh.Descriptor, datamesh.SegmentID, bool, error) {
	list, _ := l.all()
	return list, datamesh.SegmentID{}, false, nil
}

func (l liarRegistry) CompareRecords(ctx context.Context, _ datamesh.PeerID, _ transfer.RecordList) ([]datamesh.RecordKey, iter.Seq2[*datamesh.Record, error], error) {
	return nil, l.Records(ctx, datamesh.RecordKey{}), nil
}

func (liarRegistry) Spare(datamesh.PeerID, datamesh.ShardKey) {}

func (liarRegistry) Pledge(context.Context, datamesh.PeerID, datamesh.ShardKey) error { return nil }

// boasts tells all registrars that it holds everything, and that others hold
// what they do not.
func (l *liar) boasts(t *testing.T) {
	t.Helper()
	list, keys := l.all()
	var reports []store.Report
	for _, d := range list {
		reports = append(reports, store.Report{Descriptor: d, Holdings: l.falseHolders(d)})
	}
	last := datamesh.ShardKey{Segment: datamesh.SegmentID(bytes.Repeat([]byte{0xff}, len(datamesh.SegmentID{}))), Index: datamesh.MaxShards - 1}
	for _, peer := range l.honest {
		if err := l.Report(t.Context(), peer, reports); err != nil && !errors.Is(err, errs.Deleted) {
			t.Errorf("the liar reports to %s: %v", peer, err)
		}
		if _, _, err := l.Holds(t.Context(), peer, transfer.Range{After: datamesh.First, Upto: last, Keys: keys}); err != nil {
			t.Errorf("the liar boasts to %s: %v", peer, err)
		}
	}
}

// A member that lies in all that it says and serves costs others nothing that
// they had stored.
func TestLiarCostsOthersNothing(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "a member that lies")
	m := healing(t, 7, "DATAMESH_AUDIT_INTERVAL=5s", "DATAMESH_LOG_FORMAT=json")
	l := m.liar(t)
	owner := m.user(t)
	deleted := owner.deleted(t)
	objects, segments := owner.puts(t, 0, 12)
	list, keys := l.all()
	if len(list) == 0 {
		t.Fatal("the liar was given nothing")
	}
	l.boasts(t)
	owner.readable(t, objects)

	// What it registers under its own name it can delete, and nothing else.
	_, known := copies(t, m.members)
	for _, d := range known {
		l.hear(d)
		l.deletesAsItsOwn(t, m, d)
		for _, peer := range l.honest {
			forged := format.NewDeletion(l.key, d, 1<<40)
			if err := l.Shards(peer).Drop(t.Context(), forged); !errors.Is(err, errs.Authentication) {
				t.Errorf("%s takes a deletion that its owner has not signed: %v", peer, err)
			}
			forged.Signature = deleted.Signature
			if err := l.Shards(peer).Drop(t.Context(), forged); !errors.Is(err, errs.Authentication) {
				t.Errorf("%s takes the deletion of another segment: %v", peer, err)
			}
			if err := l.Shards(peer).Drop(t.Context(), deleted); err != nil {
				t.Errorf("%s does not know a deletion any more: %v", peer, err)
			}
			if err := l.Spare(t.Context(), peer, datamesh.ShardKey{Segment: d.Segment}); err != nil {
				t.Errorf("the liar says to %s that a shard is one too many: %v", peer, err)
			}
		}
	}
	l.boasts(t)
	owner.readable(t, objects)

	eventually(t, "what is refuted is in a log", func() bool {
		return slices.ContainsFunc(m.members, func(x *member) bool {
			line := x.line(t, "a peer could not prove a shard", "peer", "segment", "index", "error")
			return line != nil && line["peer"] == l.ID().String()
		})
	})
	t.Logf("the liar was given shards of %d segments and claimed %d", len(list), len(keys))
	m.whole(t, segments, 6*segments) // with what only the liar was given
	owner.readable(t, objects)
	l.leave()
	m.complete(t, segments)
	owner.heals(t, 2)
	owner.readable(t, objects)
	for _, x := range m.members {
		for key := range maps.Keys(x.ledger(t).sizes) {
			if key.Segment == deleted.Descriptor.Segment {
				t.Errorf("%s has a shard that was deleted", x.home)
			}
		}
	}
}

// deletesAsItsOwn has the members keep shards of somebody else's segment under
// a descriptor of its own, and deletes those.
func (l *liar) deletesAsItsOwn(t *testing.T, m *mesh, theirs *datamesh.Descriptor) {
	t.Helper()
	own, err := format.NewDescriptor(l.key, theirs.K, theirs.M, theirs.Length, theirs.Shards)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range m.members {
		for key := range x.ledger(t).sizes {
			if key.Segment != theirs.Segment {
				continue
			}
			peer := l.Shards(x.ready.PeerID)
			_, shard, err := peer.Get(t.Context(), key, make([]byte, theirs.ShardLen()))
			if errors.Is(err, errs.FileNotFound) || errors.Is(err, errs.Unavailable) {
				continue // it was one too many
			}
			if err == nil {
				err = peer.Put(t.Context(), own, key.Index, shard)
			}
			if err != nil {
				t.Fatalf("shard %v at %s: %v", key, x.home, err)
			}
		}
	}
	for _, peer := range l.honest {
		if err := l.Shards(peer).Drop(t.Context(), format.NewDeletion(l.key, own, 1)); err != nil {
			t.Errorf("%s does not take the deletion of the liar's own segment: %v", peer, err)
		}
	}
}

// deleted returns a deletion that the user has signed: of what a put left that
// was killed.
func (u *user) deleted(t *testing.T) *datamesh.Deletion {
	t.Helper()
	put := beginPut(t, u, noisy(1, 20<<20))
	eventually(t, "some of it is stored", func() bool { return u.mesh.shardFiles(t) > 0 || !put.running() })
	put.kill()
	var del *datamesh.Deletion
	eventually(t, "what it left is deleted", func() bool {
		if o := u.run(t, "peers"); o.code != 0 && o.code != 5 { // it may not join in time
			t.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
		}
		if held, _ := copies(t, u.mesh.members); len(held) > 0 {
			return false
		}
		for _, x := range u.mesh.members {
			if list := x.tombstones(t); len(list) > 0 {
				del = list[0]
			}
		}
		return del != nil
	})
	return del
}
