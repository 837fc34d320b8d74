package store

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/storetest"
)

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantHas compares what the store says that it has of index 0 and 1.
func wantHas(t *testing.T, d *Disk, s *storetest.Sample, when string, want ...bool) {
	t.Helper()
	got, err := d.Has(t.Context(), []datamesh.ShardKey{s.Key(0), s.Key(1)})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("has, %s: got %v, %v, want %v", when, got, err, want)
	}
}

// A caller who checks what he gets is given it as it lies there, until the store
// itself has seen that it is damaged.
func TestShardIsCheckedByWhoeverSaysSo(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s, row := storetest.Segment(t, 1, 2, 1, 2*large), storetest.Segment(t, 2, 2, 1, 1000)
	s.Put(t, d, 0)
	row.Put(t, d, 0)
	path := d.path(s.Key(0))
	edit(t, path, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	ctx := datamesh.WithUnchecked(t.Context())
	for range 2 {
		if _, b, err := d.Get(ctx, s.Key(0), nil); err != nil || bytes.Equal(b, s.Bytes[0]) {
			t.Errorf("get without a check: got %v, and the bytes that were put: %v", err, bytes.Equal(b, s.Bytes[0]))
		}
		if has, err := d.Has(t.Context(), []datamesh.ShardKey{s.Key(0)}); err != nil || !has[0] {
			t.Errorf("has: got %v, %v, although nobody has looked", has, err)
		}
	}
	if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.Integrity) {
		t.Errorf("get with a check: got %v, want kind Integrity", err)
	}
	if _, _, err := d.Get(ctx, s.Key(0), nil); !errors.Is(err, errs.Integrity) {
		t.Errorf("get without a check of what is known to be damaged: got %v, want kind Integrity", err)
	}
	wantHas(t, d, s, "read without a check after one with", false, false)
	edit(t, path, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	if _, _, err := d.Get(ctx, s.Key(0), nil); err != nil {
		t.Errorf("get of a shard that is good again: %v", err)
	}
	if _, b, err := d.Get(ctx, row.Key(0), nil); err != nil || !bytes.Equal(b, row.Bytes[0]) {
		t.Errorf("get of a row: %v", err)
	}
}

func TestDamagedFileIsIntegrityAndPutHealsIt(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	for i := range s.Bytes {
		s.Put(t, d, i)
	}
	path, other := d.path(s.Key(0)), d.path(s.Key(1))
	for what, damage := range map[string]func(){
		"flipped":   func() { edit(t, path, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }) },
		"truncated": func() { edit(t, path, func(b []byte) []byte { return b[:len(b)-1] }) },
		"emptied":   func() { edit(t, path, func([]byte) []byte { return nil }) },
		"grown":     func() { edit(t, path, func(b []byte) []byte { return append(b, 0) }) },
		"deleted":   func() { os.Remove(path) },
		"replaced":  func() { os.Remove(path); os.Mkdir(path, 0o700) },
		"swapped": func() {
			edit(t, path, func([]byte) []byte { b, _ := os.ReadFile(other); return b })
		},
	} {
		damage()
		if what != "flipped" && what != "swapped" { // which no look at the length tells
			wantHas(t, d, s, what, false, true)
		}
		n := len(s.Bytes[0])
		if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.Integrity) {
			t.Errorf("get of a %s file: got %v, want kind Integrity", what, err)
		}
		if _, _, err := d.GetRange(t.Context(), s.Key(0), n-10, 10); !errors.Is(err, errs.Integrity) {
			t.Errorf("range of a %s file: got %v, want kind Integrity", what, err)
		}
		wantHas(t, d, s, what+" and read", false, true)
		s.Put(t, d, 0)
		wantHas(t, d, s, what+" and put again", true, true)
		for i := range s.Bytes {
			s.Check(t, d, i)
		}
		checkAccount(t, d)
	}
}

// TestDamageHealedByManyIsHealedForAll has many put a damaged shard at once:
// none may take away what another has been told is kept.
func TestDamageHealedByManyIsHealedForAll(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 1, 0, large)
	s.Put(t, d, 0)
	for range 10 {
		edit(t, d.path(s.Key(0)), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		var wait sync.WaitGroup
		for range 64 {
			wait.Go(func() {
				s.Put(t, d, 0)
				s.Check(t, d, 0)
			})
		}
		wait.Wait()
		if t.Failed() {
			return
		}
	}
	checkAccount(t, d)
}

func TestFlippedOutboardProvesNothing(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	n := len(s.Bytes[0])
	for back := range hash.OutboardSize(n) {
		if back%8 != 0 {
			continue
		}
		flip := func(b []byte) []byte { b[len(b)-n-1-back] ^= 0xff; return b }
		edit(t, d.path(s.Key(0)), flip)
		_, slice, err := d.GetRange(t.Context(), s.Key(0), 0, n)
		if !errors.Is(err, errs.Integrity) && err != nil {
			t.Errorf("flipped %d before the shard: got %v, want kind Integrity", back+1, err)
		}
		if _, ok := hash.Open(slice, 0, n, s.Shards[0]); err == nil && !ok {
			t.Errorf("flipped %d before the shard: a slice that proves nothing", back+1)
		}
		edit(t, d.path(s.Key(0)), flip)
	}
}

func TestRottenRowIsIntegrityAndPutHealsIt(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*small)
	s.Put(t, d, 0)
	closeDisk(t, d)
	edit(t, filepath.Join(dir, "node.db"), func(b []byte) []byte {
		at := bytes.Index(b, s.Bytes[0][:100])
		b[at] ^= 1
		return b
	})
	d = openDisk(t, dir, Options{})
	if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.Integrity) {
		t.Errorf("get: got %v, want kind Integrity", err)
	}
	if _, _, err := d.GetRange(t.Context(), s.Key(0), 0, 1); !errors.Is(err, errs.Integrity) {
		t.Errorf("range: got %v, want kind Integrity", err)
	}
	wantHas(t, d, s, "rotten and read", false, false)
	s.Put(t, d, 0)
	s.Check(t, d, 0)
	wantHas(t, d, s, "put again", true, false)
	checkAccount(t, d)
}

func TestShardThatReadsWellAgainIsThereAgain(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	edit(t, d.path(s.Key(0)), flip)
	if _, _, err := d.Get(t.Context(), s.Key(0), nil); !errors.Is(err, errs.Integrity) {
		t.Fatalf("get: got %v, want kind Integrity", err)
	}
	edit(t, d.path(s.Key(0)), flip)
	if _, _, err := d.GetRange(t.Context(), s.Key(0), 0, 1); err != nil {
		t.Fatal(err)
	}
	wantHas(t, d, s, "after a good range", false, false)
	s.Check(t, d, 0)
	wantHas(t, d, s, "after a good read", true, false)
}

// A read may end when what it has found has been replaced already.
func TestDamageFoundTooLateIsNotThatOfTheNewShard(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	edit(t, d.path(s.Key(0)), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	began := d.damaged.begin()
	_, _, err := d.get(s.Key(0), nil, true)
	s.Put(t, d, 0)
	d.damaged.note(s.Key(0), began, err)
	wantHas(t, d, s, "put again", true, false)
}

func TestLostFilesAreForgottenAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	for i := range s.Bytes {
		s.Put(t, d, i)
	}
	closeDisk(t, d)
	os.Remove(d.path(s.Key(1)))

	var lost []datamesh.ShardKey
	d = openDisk(t, dir, Options{Events: Events{Lost: func(key datamesh.ShardKey) { lost = append(lost, key) }}})
	if len(lost) != 1 || lost[0] != s.Key(1) {
		t.Errorf("lost: got %v, want %v", lost, s.Key(1))
	}
	if _, _, err := d.Get(t.Context(), s.Key(1), nil); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("get of a lost shard: %v", err)
	}
	s.Check(t, d, 0)
	checkAccount(t, d)
}

// TestIndexIsRebuiltFromTheFiles damages the index in every way and finds all
// files again.
func TestIndexIsRebuiltFromTheFiles(t *testing.T) {
	files := storetest.Segment(t, 1, 4, 2, 4*large)
	rows := storetest.Segment(t, 2, 4, 2, 4*small)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, db string)
		aside  bool
	}{
		{"deleted", func(t *testing.T, db string) { os.Remove(db) }, false},
		{"deleted beside a log", func(t *testing.T, db string) { os.Rename(db, db+"-wal") }, false},
		{"emptied", func(t *testing.T, db string) { edit(t, db, func([]byte) []byte { return nil }) }, false},
		{"garbage", func(t *testing.T, db string) {
			edit(t, db, func(b []byte) []byte { return bytes.Repeat([]byte("?!"), len(b)/2) })
		}, true},
		{"garbage after the first page", func(t *testing.T, db string) {
			edit(t, db, func(b []byte) []byte { copy(b[4096:], bytes.Repeat([]byte{0xa5}, len(b))); return b })
		}, true},
		{"zeros after the first page", func(t *testing.T, db string) {
			edit(t, db, func(b []byte) []byte { clear(b[4096:]); return b })
		}, true},
		{"cut short", func(t *testing.T, db string) {
			edit(t, db, func(b []byte) []byte { return b[:3*4096] })
		}, true},
		{"with damage among the empty pages alone", func(t *testing.T, db string) {
			edit(t, db, func(b []byte) []byte {
				trunk := int(binary.BigEndian.Uint32(b[32:36])) // the first of the list of free pages
				at := (trunk - 1) * 4096
				copy(b[at:at+4096], bytes.Repeat([]byte{0xff}, 4096))
				return b
			})
		}, true},
		{"without a table", func(t *testing.T, db string) {
			execSQL(t, db, `DROP TABLE shards`)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			d := openDisk(t, dir, Options{})
			for i := range files.Bytes {
				files.Put(t, d, i)
				rows.Put(t, d, i)
			}
			closeDisk(t, d)
			c.damage(t, filepath.Join(dir, "node.db"))

			var told []string
			d = openDisk(t, dir, Options{Events: Events{
				Rebuilt: func(aside string, n, _ int) { told = append(told, aside, fmt.Sprint(n)) }}})
			if len(told) != 2 || told[1] != "6" {
				t.Errorf("rebuilt: told %q, want once and of 6 files", told)
			} else if _, err := os.Stat(told[0]); c.aside != (err == nil) {
				t.Errorf("the damaged index was moved to %q: %v, want one: %t", told[0], err, c.aside)
			}
			for i := range files.Bytes {
				files.Check(t, d, i)
				rows.Put(t, d, i)
			}
			checkAccount(t, d)
		})
	}
}

// blank overwrites with zeros those pages of a database for which page is true.
func blank(t *testing.T, db string, page func(n int, b []byte) bool) {
	t.Helper()
	blanked := 0
	edit(t, db, func(b []byte) []byte {
		for at := pageSize; at < len(b); at += pageSize {
			if p := b[at : at+pageSize]; page(at/pageSize+1, p) {
				clear(p)
				blanked++
			}
		}
		return b
	})
	if blanked != 1 {
		t.Fatalf("%d pages blanked, want 1", blanked)
	}
}

// rootPage returns the number of a table's first page.
func rootPage(t *testing.T, path, table string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT rootpage FROM sqlite_schema WHERE name = ?`, table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDamageOfOneTableLosesNoOther loses a table of the index, and keeps what
// the others say.
func TestDamageOfOneTableLosesNoOther(t *testing.T) {
	rows, gone := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*large)
	for _, table := range []string{"peers", "sqlite_autoindex_peers_1", "sqlite_sequence", "holdings", "tombstones", "positions", "receipts", "records", "shards", "segments"} {
		t.Run(table, func(t *testing.T) {
			dir := t.TempDir()
			db := filepath.Join(dir, "node.db")
			d := openDisk(t, dir, Options{})
			for i := range rows.Bytes {
				rows.Put(t, d, i)
			}
			report(t, d, rows, Holding{3, peer(1)}, Holding{3, peer(2)})
			if err := d.Drop(t.Context(), gone.Deletion(7)); err != nil {
				t.Fatal(err)
			}
			closeDisk(t, d)
			root := rootPage(t, db, table)
			blank(t, db, func(n int, _ []byte) bool { return n == root })

			saved := -1
			d = openDisk(t, dir, Options{Events: Events{Rebuilt: func(_ string, _, n int) { saved = n }}})
			checkAccount(t, d)
			if lost := table == "shards" || table == "segments"; lost != (saved == 0) || !lost && saved != 6 {
				t.Errorf("%d rows were saved", saved)
			}
			for i := range rows.Bytes {
				if saved > 0 {
					rows.Check(t, d, i)
				}
			}
			if table != "segments" {
				wantHolders(t, d, rows, Holding{3, peer(2)}, Holding{3, peer(1)})
			}
			if del, err := d.Deletion(t.Context(), gone.Descriptor.Segment); table != "tombstones" && (err != nil || del.Generation != 7) {
				t.Errorf("deletion: %v, %v", del, err)
			}
		})
	}
}

// flipPeer changes a peer in its row, or in the index of that, and nowhere else.
func flipPeer(t *testing.T, db string, p datamesh.PeerID, inIndex bool) {
	t.Helper()
	const id = byte(12 + 2*len(p)) // as the header of a row has it
	row := append([]byte{3, 0, id}, p[:]...)
	if inIndex {
		row = append([]byte{3, id, 1}, p[:]...) // with a number above 1
	}
	f, err := os.OpenFile(db, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, row)
	if at < 0 || bytes.Contains(b[at+1:], row) {
		t.Fatal("there is not one such row")
	}
	if _, err := f.WriteAt([]byte{p[31] ^ 1}, int64(at+len(row)-1)); err != nil {
		t.Fatal(err)
	}
}

// A peer that has rotted in one of the two places where it stands has nothing under
// another name, and whoever it was is entered again.
func TestRottenPeerIsNobodyElse(t *testing.T) {
	for _, inIndex := range []bool{false, true} {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("index %t, open %t", inIndex, open), func(t *testing.T) {
				dir := t.TempDir()
				db := filepath.Join(dir, "node.db")
				d := openDisk(t, dir, Options{})
				s := storetest.Segment(t, 1, 4, 2, 4*small)
				report(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)}, Holding{2, peer(3)})
				closeDisk(t, d)
				if open {
					d = openDisk(t, dir, Options{})
					flipPeer(t, db, peer(2), inIndex)
					wantHolders(t, d, s, Holding{0, peer(1)}, Holding{2, peer(3)})
					closeDisk(t, d)
				} else {
					flipPeer(t, db, peer(2), inIndex)
				}
				if err := Check(t.Context(), dir); !errors.Is(err, errs.Integrity) {
					t.Errorf("check: got %v, want kind Integrity", err)
				}
				d = openDisk(t, dir, Options{})
				wantHolders(t, d, s, Holding{0, peer(1)}, Holding{2, peer(3)})
				checkHolders(t, d)
				report(t, d, s, Holding{1, peer(2)})
				wantHolders(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)}, Holding{2, peer(3)})
				checkHolders(t, d)
			})
		}
	}
}

// TestDamageOfOnePageLosesWhatWasOnIt loses a page in the midst of a table.
func TestDamageOfOnePageLosesWhatWasOnIt(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "node.db")
	var all []*storetest.Sample
	d := openDisk(t, dir, Options{})
	for seed := range uint64(3) {
		s := storetest.Segment(t, seed, 128, 128, 128*100)
		for i := range s.Bytes {
			s.Put(t, d, i)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *storetest.Sample) int { return a.Key(0).Compare(b.Key(0)) })
	closeDisk(t, d)
	root, seen := rootPage(t, db, "shards"), 0
	blank(t, db, func(n int, b []byte) bool {
		const indexLeaf = 0x0a
		if n == root || b[0] != indexLeaf || bytes.Count(b, all[1].Descriptor.Segment[:]) < 5 {
			return false
		}
		seen++
		return seen == 1
	})
	var saved int
	d = openDisk(t, dir, Options{Events: Events{Rebuilt: func(_ string, _, n int) { saved = n }}})
	if saved < 256 || saved == 3*256 {
		t.Errorf("%d of 768 rows were saved", saved)
	}
	all[0].Check(t, d, 0)
	all[2].Check(t, d, 255)
	checkAccount(t, d)
}

// TestDamageThatAPutMeetsIsMendedAtTheNextStart damages the table that is not
// looked through when a store is opened.
func TestDamageThatAPutMeetsIsMendedAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "node.db")
	s, next := storetest.Segment(t, 1, 64, 64, 64*small), storetest.Segment(t, 2, 1, 0, small)
	d := openDisk(t, dir, Options{})
	for i := range s.Bytes {
		s.Put(t, d, i)
	}
	closeDisk(t, d)
	first := 0 // of those on the last page
	blank(t, db, func(_ int, b []byte) bool {
		const tableLeaf = 0x0d
		on := func(shard []byte) bool { return b[0] == tableLeaf && bytes.Contains(b, shard[len(shard)-100:]) }
		if !on(s.Bytes[127]) {
			return false
		}
		first = slices.IndexFunc(s.Bytes, on)
		return true
	})

	d = openDisk(t, dir, Options{})
	if err := d.Put(t.Context(), next.Descriptor, 0, next.Bytes[0]); !errors.Is(err, errs.Database) {
		t.Fatalf("put into a damaged table: got %v, want kind Database", err)
	}
	s.Check(t, d, 0)
	closeDisk(t, d)
	var saved int
	d = openDisk(t, dir, Options{Events: Events{Rebuilt: func(_ string, _, n int) { saved = n }}})
	if saved != first {
		t.Errorf("%d rows were saved, want %d", saved, first)
	}
	next.Put(t, d, 0)
	s.Put(t, d, 127)
	s.Check(t, d, 127)
	s.Check(t, d, first-1)
	checkAccount(t, d)
	closeDisk(t, d)
	openDisk(t, dir, Options{Events: Events{Rebuilt: func(string, int, int) { t.Error("rebuilt again") }}})
}

// TestRebuildThatWasCutOff has a rebuild cut off at each of its steps.
func TestRebuildThatWasCutOff(t *testing.T) {
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	for name, cut := range map[string]func(db string) error{
		"half a new database": func(db string) error { return os.WriteFile(db+".rebuilt", []byte("half"), 0o600) },
		"before the first move": func(db string) error {
			_, err := salvage(db, db+".rebuilt")
			return err
		},
		"before the last move": func(db string) error {
			_, err := salvage(db, db+".rebuilt")
			return errors.Join(err, os.Rename(db, db+".damaged-1"), os.WriteFile(db+"-wal", bytes.Repeat([]byte{1}, 1<<20), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := filepath.Join(dir, "node.db")
			d := openDisk(t, dir, Options{})
			s.Put(t, d, 0)
			closeDisk(t, d)
			root := rootPage(t, db, "holdings")
			blank(t, db, func(n int, _ []byte) bool { return n == root })
			if err := cut(db); err != nil {
				t.Fatal(err)
			}
			d = openDisk(t, dir, Options{})
			s.Check(t, d, 0)
			checkAccount(t, d)
			if _, err := os.Stat(db + ".damaged-1"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(db + ".rebuilt"); err == nil {
				t.Error("the rebuilt index is still there")
			}
		})
	}
}

func execSQL(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

// TestForeignFilesAreLeftAlone plants files among the shards that must not be
// believed.
func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	whole, err := os.ReadFile(d.path(s.Key(0)))
	if err != nil {
		t.Fatal(err)
	}
	closeDisk(t, d)

	forged := *s.Descriptor
	forged.Signature[0] ^= 1
	enc := format.EncodeDescriptor(s.Descriptor)
	data := whole[len(encodeHeader(s.Key(0), enc)):]
	plant := map[string][]byte{
		d.path(s.Key(1)): whole, // index 0 under the name of index 1
		d.path(s.Key(2)): append(encodeHeader(s.Key(2), format.EncodeDescriptor(&forged)), data...),
		d.path(s.Key(3)): append(encodeHeader(s.Key(3), enc), data...), // k+m is 3
		filepath.Join(d.folder(0), fileName(storetest.Segment(t, 9, 2, 1, 2*large).Key(0))): whole,
		filepath.Join(d.folder(7), "notes.txt"):                                             []byte("mine"),
		filepath.Join(d.folder(7), "empty"):                                                 nil,
	}
	for path, b := range plant {
		if err := errors.Join(makeDir(filepath.Dir(path)), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	strange := make(map[string]bool)
	d = openDisk(t, dir, Options{Events: Events{Strange: func(path string, err error) { strange[path] = true }}})
	for path, b := range plant {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b) || !strange[path] {
			t.Errorf("%s: left alone: %v, told of: %t", filepath.Base(path), err == nil, strange[path])
		}
	}
	if keys, err := d.List(t.Context(), datamesh.First, 10); err != nil || len(keys) != 1 {
		t.Errorf("list: %v, %v, want one key", keys, err)
	}
	s.Put(t, d, 1)
	s.Check(t, d, 1)
}

func TestFileOfADeletedSegmentIsNotIndexed(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 2*large)
	s.Put(t, d, 0)
	file, err := os.ReadFile(d.path(s.Key(0)))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Drop(t.Context(), s.Deletion(datamesh.Final)); err != nil {
		t.Fatal(err)
	}
	closeDisk(t, d)
	if err := os.WriteFile(d.path(s.Key(0)), file, 0o600); err != nil { // as if the drop had been cut off
		t.Fatal(err)
	}
	d = openDisk(t, dir, Options{})
	checkAccount(t, d)
	if left := shardFiles(t, dir); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestClaimThatWasCutOff opens a store that died while it claimed room.
func TestClaimThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	closeDisk(t, openDisk(t, dir, Options{}))
	execSQL(t, filepath.Join(dir, "node.db"), `INSERT INTO payloads (id, data) VALUES (-1, zeroblob(1000))`)
	checkAccount(t, openDisk(t, dir, Options{}))
}

func TestOtherDatabasesAreNotTouched(t *testing.T) {
	for what, change := range map[string]string{
		"newer":   fmt.Sprintf("PRAGMA user_version = %d", schemaVersion+1),
		"foreign": "PRAGMA application_id = 7",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "node.db")
		closeDisk(t, openDisk(t, dir, Options{}))
		execSQL(t, path, change)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, Options{})
		if !errors.Is(err, errs.Configuration) || errs.HintFor(err) == "" {
			t.Errorf("%s: got %v, hint %q, want kind Configuration and a hint", what, err, errs.HintFor(err))
		}
		if err := Check(t.Context(), dir); !errors.Is(err, errs.Configuration) {
			t.Errorf("%s: check: got %v, want kind Configuration", what, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the database was changed, %v", what, err)
		}
	}
}
