package object

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// twoFaced stores a segment whose author coded one content and took the
// parity from another of the same length. Each shard is what its id says.
func (u *user) twoFaced(k, m int, data, parity []byte) datamesh.SegmentID {
	u.t.Helper()
	code, err := erasure.New(k, m)
	if err != nil {
		u.t.Fatal(err)
	}
	encode := func(segment []byte) [][]byte {
		shards, err := code.Encode(append(bytes.Clone(segment), make([]byte, code.BufferLen(len(segment)))...), len(segment))
		if err != nil {
			u.t.Fatal(err)
		}
		return shards
	}
	shards := append(encode(data)[:k:k], encode(parity)[k:]...)
	ids := make([]datamesh.ShardID, len(shards))
	for i, shard := range shards {
		ids[i] = hash.Shard(shard)
	}
	d, err := format.NewDescriptor(u.ring.Owner, k, m, len(data), ids)
	if err != nil {
		u.t.Fatal(err)
	}
	report := store.Report{Descriptor: d}
	for i, shard := range shards {
		if err := u.w.members[i].store.Put(u.t.Context(), d, i, shard); err != nil {
			u.t.Fatal(err)
		}
		report.Holdings = append(report.Holdings, store.Holding{Index: i, Peer: u.w.members[i].id})
	}
	for _, member := range u.w.members {
		member.registry[d.Segment] = report
	}
	return d.Segment
}

// An id must stand for one content, whoever made it up and whoever is away.
func TestAnAuthorCannotGiveTwoContentsOneID(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	seal := func(content string) []byte {
		m := &format.Manifest{Size: int64(len(content)), Inline: []byte(content)}
		sealed, err := format.SealManifest(m, []crypt.Recipient{u.ring.Recipient})
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	id := datamesh.ObjectID(u.twoFaced(1, 2, seal("we pay"), seal("we owe")))
	if bad := u.get(id, []byte("we pay")); len(bad) > 0 {
		t.Errorf("bad %v", bad)
	}
	w.members[0].set(storetest.Fail)
	var got bytes.Buffer
	_, err := u.Get(t.Context(), id, to(&got))
	wantKind(t, "without the first shard", err, errs.Integrity)
	if got.Len() > 0 {
		t.Errorf("it gave %q under the same id", got.Bytes())
	}
}

// The author of content knows its key, and so can seal other frames as well.
func TestASegmentWhoseShardsAreNoCodeWordIsReadInOneWayOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ k, m int }{{1, 5}, {2, 4}, {4, 2}, {5, 1}} {
			w := newWorld(t, 6)
			u := newUser(t, w)
			want := noise(1, 1000)
			id := u.twoFaced(tt.k, tt.m, want, noise(2, 1000))
			for lost := range 1 << 6 {
				for i, m := range w.members {
					m.set(storetest.None)
					if lost>>i&1 == 1 {
						m.set(storetest.Fail)
					}
				}
				what := fmt.Sprintf("%d+%d, lost %06b", tt.k, tt.m, lost)
				err := u.segmentOf(id, func(got []byte) error {
					if !bytes.Equal(got, want) {
						t.Errorf("%s: it is read otherwise", what)
					}
					return nil
				})
				if kind := errs.KindOf(err); err != nil && kind != errs.Integrity && kind != errs.Unavailable {
					t.Errorf("%s: got %v", what, err)
				}
				if lost == 0 && err != nil {
					t.Errorf("%s: got %v", what, err)
				}
			}
		}
	})
}

// A careful world refuses shards that are longer than their buffer, as package
// transfer does.
type careful struct{ *world }

func (w careful) Shards(peer datamesh.PeerID) datamesh.ShardStore {
	return refuser{w.world.Shards(peer)}
}

type refuser struct{ datamesh.ShardStore }

func (r refuser) Get(ctx context.Context, key datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	d, shard, err := r.ShardStore.Get(ctx, key, buf)
	if err == nil && cap(buf) > 0 && cap(buf) < len(shard) {
		return d, nil, errs.New(errs.Integrity, "%d bytes, %d were expected", len(shard), cap(buf))
	}
	return d, shard, err
}

// Those who hold a segment of another shape than the manifest says have done
// nothing wrong.
func TestManifestThatSaysTooLittleIsNotTheHoldersFault(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	result := u.put(noise(1, 300_000), options)
	m, err := u.Manifest(t.Context(), result.ID)
	if err != nil {
		t.Fatal(err)
	}
	o := New(careful{w}, u.keys, u.journal, testGrace)
	g := o.newGet(t.Context())
	f := g.newFetch(t.Context(), m.Segments[0].ID)
	defer f.close()
	ref := m.Segments[0]
	ref.Length /= 2
	f.expect(&ref, m.Peers)
	_, err = f.run(make([]byte, f.shape.bufferLen()))
	wantKind(t, "get", err, errs.Integrity)
	f.close()
	if bad := g.findings(); len(bad) > 0 {
		t.Errorf("bad %v", bad)
	}
}

// segmentOf reads a segment as a get reads a manifest's.
func (u *user) segmentOf(id datamesh.SegmentID, use func([]byte) error) error {
	g := u.newGet(u.t.Context())
	defer g.findings()
	return g.segment(u.t.Context(), id, use)
}
