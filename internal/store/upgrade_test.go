package store

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/storetest"
)

// earlier returns the folder of a store of version 1, as a program of that version
// has made it from the segments of seeds 1 to 3, of which the second was deleted. Of
// the shard 0 of the first 0 to 5 were reported as holders, and 3 once more; of its
// shard 5 0 and 1, by turns.
func earlier(t *testing.T) (dir string, first, deleted, third *storetest.Sample) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", "node-v1.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.db"), db, 0o600); err != nil {
		t.Fatal(err)
	}
	var s []*storetest.Sample
	for seed := range uint64(3) {
		s = append(s, storetest.Segment(t, seed+1, 4, 2, 4*100))
	}
	return dir, s[0], s[1], s[2]
}

// wantEarlier opens the store of earlier and compares what it says with what it was
// told.
func wantEarlier(t *testing.T, dir string, first, deleted, third *storetest.Sample) *Disk {
	t.Helper()
	d := openDisk(t, dir, Options{Events: Events{Rebuilt: func(string, int, int) { t.Error("it was rebuilt") }}})
	wantHolders(t, d, first, Holding{0, peer(3)}, Holding{0, peer(5)}, Holding{0, peer(4)}, Holding{0, peer(2)},
		Holding{2, peer(200)}, Holding{5, peer(1)}, Holding{5, peer(0)})
	wantHolders(t, d, third, Holding{3, peer(1)}, Holding{4, peer(2)})
	wantProofs(t, d, first, Proof{first.Key(0), peer(4), time.Unix(1_700_000_000, 0)})
	wantProofs(t, d, third, Proof{third.Key(3), peer(1), time.Unix(5, 0)})
	wantReceipts(t, d, first, receipt(t, first, 0, 7))
	wantRecords(t, "of before", d, logged(t, 1, 1, 2, 0, []byte("one")))
	list, err := d.Reported(t.Context(), peer(1), datamesh.First, 10)
	wantKeys(t, "reported of 1", list, err, first.Key(5), third.Key(3))
	list, err = d.Reported(t.Context(), peer(2), datamesh.First, 10)
	wantKeys(t, "reported of 2", list, err, first.Key(0), third.Key(4))
	if del, err := d.Deletion(t.Context(), deleted.Segment); err != nil || del.Generation != 7 {
		t.Errorf("deletion: %v, %v", del, err)
	}
	first.Check(t, d, 0)
	first.Check(t, d, 5)
	if u := d.Usage(); u.Shards != 2 || u.Trash != 100 {
		t.Errorf("usage: %+v", u)
	}
	checkAccount(t, d)
	checkHolders(t, d)
	return d
}

// What a program of before has written is read, and goes on as if it had been
// written by this one.
func TestStoreOfVersion1IsUpgraded(t *testing.T) {
	dir, first, deleted, third := earlier(t)
	if err := Check(t.Context(), dir); err != nil {
		t.Errorf("check of version 1: %v", err)
	}
	d := wantEarlier(t, dir, first, deleted, third)
	closeDisk(t, d)
	if err := Check(t.Context(), dir); err != nil {
		t.Errorf("check of what it is now: %v", err)
	}
	d = wantEarlier(t, dir, first, deleted, third)
	report(t, d, first, Holding{0, peer(5)}, Holding{1, peer(9)})
	wantHolders(t, d, first, Holding{0, peer(5)}, Holding{0, peer(3)}, Holding{0, peer(4)}, Holding{0, peer(2)},
		Holding{1, peer(9)}, Holding{2, peer(200)}, Holding{5, peer(1)}, Holding{5, peer(0)})
	if err := d.Drop(t.Context(), first.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(t.Context(), []datamesh.SegmentID{third.Segment}); err != nil {
		t.Fatal(err)
	}
	checkHolders(t, d)
	var left int
	if err := d.index.read.QueryRow(`SELECT (SELECT count(*) FROM peers) + (SELECT count(*) FROM holdings)
		+ (SELECT count(*) FROM sqlite_schema WHERE name IN ('holders', 'holders_by_peer', 'proofs', 'proofs_of_nobody'))`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d peers, holdings and tables of before are left, %v", left, err)
	}
	third.Put(t, d, 0)
	third.Check(t, d, 0)
}

// TestUpgradeThatWasCutOff copies the files, as a crash leaves them, of an upgrade of
// which everything is written but the end, and of one that is at its end.
func TestUpgradeThatWasCutOff(t *testing.T) {
	dir, first, deleted, third := earlier(t)
	copied := func(what string) {
		t.Run(what, func(t *testing.T) {
			crashed := t.TempDir()
			for _, name := range []string{"node.db", "node.db-wal"} {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(crashed, name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			wantEarlier(t, crashed, first, deleted, third)
		})
	}
	db, err := openSQLite(filepath.Join(dir, "node.db"), "cache_size(1)") // so that it is written before it is committed
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	x := &index{}
	if x.conn, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer x.conn.Close()
	x.writes.on = x.conn
	run := func(text string) {
		t.Helper()
		if _, err := x.conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	run(`PRAGMA journal_mode = wal`)
	run(beginUpgrade)
	if err := x.upgradeHolders(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "node.db-wal"))
	if err != nil || info.Size() == 0 {
		t.Fatalf("nothing is written yet, %v", err)
	}
	copied("before the commit")
	run(endUpgrade)
	copied("after it")
	if err := x.writes.close(); err != nil {
		t.Error(err)
	}
}

// A damaged store of version 1 is saved as one of this version.
func TestDamagedStoreOfVersion1IsRebuilt(t *testing.T) {
	for _, table := range []string{"holders", "tombstones", "sqlite_autoindex_holders_1"} {
		t.Run(table, func(t *testing.T) {
			dir, first, _, third := earlier(t)
			path := filepath.Join(dir, "node.db")
			root := rootPage(t, path, table)
			edit(t, path, func(b []byte) []byte {
				clear(b[(root-1)*4096:][:4096])
				return b
			})
			saved := -1
			d := openDisk(t, dir, Options{Events: Events{Rebuilt: func(_ string, _, n int) { saved = n }}})
			if saved != 2 {
				t.Errorf("%d rows were saved, want 2", saved)
			}
			first.Check(t, d, 0)
			first.Check(t, d, 5)
			if table == "holders" {
				wantHolders(t, d, first)
			} else {
				wantHolders(t, d, first, Holding{0, peer(3)}, Holding{0, peer(5)}, Holding{0, peer(4)}, Holding{0, peer(2)},
					Holding{2, peer(200)}, Holding{5, peer(1)}, Holding{5, peer(0)})
				wantHolders(t, d, third, Holding{3, peer(1)}, Holding{4, peer(2)})
			}
			checkAccount(t, d)
			checkHolders(t, d)
		})
	}
}

// Of what stands behind a damaged page the last is still the one reported last.
func TestDamagedHoldersOfVersion1KeepTheirOrder(t *testing.T) {
	dir, first, _, third := earlier(t)
	path := filepath.Join(dir, "node.db")
	var text strings.Builder
	insert := func(segment datamesh.SegmentID, index int, p datamesh.PeerID) {
		fmt.Fprintf(&text, "INSERT INTO holders (segment, idx, peer, reported) VALUES (x'%x', %d, x'%x', 0);", segment[:], index, p[:])
	}
	insert(third.Segment, 0, peer(1))
	for n := range byte(200) { // on pages of their own
		insert(datamesh.SegmentID{n}, 0, datamesh.PeerID{n, 0xab, 0xcd})
	}
	for n := range byte(3) {
		insert(third.Segment, 0, peer(7+n))
	}
	execSQL(t, path, text.String())
	edit(t, path, func(b []byte) []byte {
		const tableLeaf = 0x0d
		for at := 4096; at < len(b); at += 4096 {
			page := b[at:][:4096]
			if page[0] == tableLeaf && bytes.Contains(page, append([]byte{100}, make([]byte, 31)...)) {
				clear(page)
				return b
			}
		}
		t.Fatal("no page to damage")
		return b
	})
	saved := -1
	d := openDisk(t, dir, Options{Events: Events{Rebuilt: func(_ string, _, n int) { saved = n }}})
	if saved != 2 {
		t.Errorf("%d rows were saved, want 2", saved)
	}
	wantHolders(t, d, third, Holding{0, peer(9)}, Holding{0, peer(8)}, Holding{0, peer(7)}, Holding{0, peer(1)},
		Holding{3, peer(1)}, Holding{4, peer(2)})
	first.Check(t, d, 0)
	checkHolders(t, d)
}

// What has rotted in the indexes of version 1, where quick_check does not see it,
// keeps no store from being opened, and is told again.
func TestRottenStoreOfVersion1IsUpgraded(t *testing.T) {
	const id, number = 12 + 2*32, 1 // as the header of a row has them
	for what, c := range map[string]struct {
		byPeer   bool // the index
		at       int  // in header and row
		now      byte
		rebuilt  bool
		unlisted bool // 2 is no longer there before it is told
	}{
		"the index of another shard the peer has": {byPeer: true, at: 4 + 32 + 32, now: 5},
		"an index below 0":                        {byPeer: true, at: 4 + 32 + 32, now: 0xff},
		"an index of text":                        {byPeer: true, at: 2, now: 15},
		"a peer of text":                          {byPeer: true, at: 0, now: id + 1, rebuilt: true},
		"an index below 0, by segment":            {at: 4 + 32, now: 0xff, unlisted: true},
		"that of another shard, by segment":       {at: 4 + 32, now: 5, unlisted: true},
	} {
		t.Run(what, func(t *testing.T) {
			dir, first, _, third := earlier(t)
			p, path := peer(1), filepath.Join(dir, "node.db")
			execSQL(t, path, fmt.Sprintf(`INSERT INTO holders (segment, idx, peer, reported) VALUES (x'%x', 2, x'%x', 0)`, first.Segment[:], p[:]))
			row := slices.Concat([]byte{id, number, id, number}, first.Segment[:], []byte{2}, p[:])
			if c.byPeer {
				row = slices.Concat([]byte{id, id, number, number}, p[:], first.Segment[:], []byte{2})
			}
			edit(t, path, func(b []byte) []byte {
				at := bytes.Index(b, row)
				if at < 0 || bytes.Contains(b[at+1:], row) {
					t.Fatal("there is not one such row")
				}
				b[at+c.at] = c.now
				return b
			})
			rebuilt := false
			d := openDisk(t, dir, Options{Events: Events{Rebuilt: func(string, int, int) { rebuilt = true }}})
			if rebuilt != c.rebuilt {
				t.Errorf("rebuilt: %t, want %t", rebuilt, c.rebuilt)
			}
			if _, list, err := d.Locate(t.Context(), first.Segment); err != nil || slices.Contains(list, Holding{2, p}) == c.unlisted {
				t.Errorf("located: %v, %v", list, err)
			}
			if _, _, err := d.Correct(t.Context(), p, datamesh.First, end, slices.SortedFunc(slices.Values(
				[]datamesh.ShardKey{first.Key(2), first.Key(5), third.Key(3)}), datamesh.ShardKey.Compare)); err != nil {
				t.Fatal(err)
			}
			wantHolders(t, d, first, Holding{0, peer(3)}, Holding{0, peer(5)}, Holding{0, peer(4)}, Holding{0, peer(2)},
				Holding{2, p}, Holding{2, peer(200)}, Holding{5, p}, Holding{5, peer(0)})
			first.Check(t, d, 0)
			checkHolders(t, d)
		})
	}
}
