//go:build unix

package main

import (
	"crypto/ed25519"
	"database/sql"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

func (u *user) receipts(t testing.TB, ref string) node.Receipts {
	t.Helper()
	return result[node.Receipts](t, u.run(t, "receipts", ref))
}

// Those that a repair gives shards sign for them, and the owner gets that from
// the registrars; what a registrar shows that is no receipt is refused.
func TestRepairsLeaveReceiptsForTheOwner(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 7)
	owner := m.user(t)
	stored := owner.put(t, noisy(1, 1<<20), "--name", "file")
	if r := owner.receipts(t, "file"); r.ID != stored.ID || r.Segments != stored.Segments || len(r.Receipts)+len(r.Refused) > 0 {
		t.Errorf("of what nobody has repaired: got %+v", r)
	}
	var dead *member
	for _, shard := range owner.info(t, "file").Segments[1].Shards {
		dead = m.byID(t, shard.Peer)
	}
	began := time.Now().Truncate(time.Second)
	kill(dead)
	x := m.running()[0]
	for _, y := range m.running() {
		y.seesDead(t, 1)
	}
	done := x.repair(t, 0)
	if done.Shards == 0 {
		t.Fatal("nothing was repaired")
	}
	r := owner.receipts(t, "file")
	if len(r.Receipts) != len(done.Placed) || len(r.Refused) > 0 {
		t.Errorf("of %d shards: got %+v", len(done.Placed), r)
	}
	placed := map[datamesh.ShardKey]datamesh.PeerID{}
	for _, p := range done.Placed {
		placed[datamesh.ShardKey{Segment: p.Segment, Index: p.Index}] = p.Peer
	}
	for _, got := range r.Receipts {
		if got.Holder != placed[datamesh.ShardKey{Segment: got.Segment, Index: got.Index}] || got.Placer != x.ready.PeerID || !got.Member ||
			got.Registrars < 4 || got.Time.Before(began) || got.Time.After(time.Now()) {
			t.Errorf("got %+v, want one of what %s has placed: %v", got, x.ready.PeerID, placed)
		}
	}

	// A registrar whose operator would have the owner believe what is not so.
	liar, one := m.running()[1], r.Receipts[0]
	liar.task.signal(t, syscall.SIGTERM)
	<-liar.task.ended
	made, err := format.SignReceipt(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), datamesh.Receipt{Mesh: datamesh.MeshID{1},
		Segment: one.Segment, Index: one.Index, Shard: one.Shard, Placer: one.Placer, Time: one.Time.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(liar.home, "store", "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO receipts (segment, receipt) VALUES (?, ?)`, one.Segment[:], format.EncodeReceipt(made)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	restart(t, liar)
	m.settle(t)
	eventually(t, "the registrar that lies answers", func() bool { return len(owner.receipts(t, "file").Refused) > 0 })
	after := owner.receipts(t, "file")
	if len(after.Receipts) != len(r.Receipts) || len(after.Refused) != 1 || after.Refused[0].Registrar != liar.ready.PeerID ||
		after.Refused[0].Segment != one.Segment || !strings.Contains(after.Refused[0].Reason, "of another mesh") {
		t.Errorf("before: %+v\nafter: %+v", r, after)
	}
	problem(t, owner.run(t, "receipts", "none"), 4)
}
