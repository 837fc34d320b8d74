//go:build unix

package main

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	_ "modernc.org/sqlite"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

// A ledger is what the index of a store has, read beside the process.
type ledger struct {
	sizes    map[datamesh.ShardKey]int64 // what each shard takes
	trash    map[datamesh.ShardKey]int64 // and each that was deleted
	files    map[datamesh.ShardKey]bool  // those of both that should be files
	segments map[datamesh.SegmentID]*datamesh.Descriptor
}

// ledger reads the index of the member's store, whether or not that runs.
func (x *member) ledger(t testing.TB) ledger {
	t.Helper()
	l := ledger{map[datamesh.ShardKey]int64{}, map[datamesh.ShardKey]int64{}, map[datamesh.ShardKey]bool{}, map[datamesh.SegmentID]*datamesh.Descriptor{}}
	db := x.index(t)
	defer db.Close()
	l.readTrash(t, db)
	rows, err := db.Query(`SELECT segment, idx, size, payload IS NULL, descriptor FROM shards JOIN segments USING (segment)`)
	if err != nil {
		t.Fatalf("%s: %v", x.home, err)
	}
	defer rows.Close()
	for rows.Next() {
		var segment, descriptor []byte
		var key datamesh.ShardKey
		var size int64
		var inFile bool
		if err := rows.Scan(&segment, &key.Index, &size, &inFile, &descriptor); err != nil {
			t.Fatal(err)
		}
		copy(key.Segment[:], segment)
		l.sizes[key] = size
		if inFile {
			l.files[key] = true
		}
		if l.segments[key.Segment] != nil {
			continue
		}
		if l.segments[key.Segment], err = format.DecodeDescriptor(descriptor); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", x.home, err)
	}
	return l
}

func (l *ledger) readTrash(t testing.TB, db *sql.DB) {
	t.Helper()
	rows, err := db.Query(`SELECT segment, idx, size, payload IS NULL FROM trash`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var segment []byte
		var key datamesh.ShardKey
		var size int64
		var inFile bool
		if err := rows.Scan(&segment, &key.Index, &size, &inFile); err != nil {
			t.Fatal(err)
		}
		copy(key.Segment[:], segment)
		if l.trash[key] = size; inFile {
			l.files[key] = true
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// index opens the index of the member's store beside the process.
func (x *member) index(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(x.home, "store", "node.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// tombstones returns the deletions that a member knows of.
func (x *member) tombstones(t testing.TB) (list []*datamesh.Deletion) {
	t.Helper()
	db := x.index(t)
	defer db.Close()
	rows, err := db.Query(`SELECT deletion FROM tombstones`)
	if err != nil {
		t.Fatalf("%s: %v", x.home, err)
	}
	defer rows.Close()
	for rows.Next() {
		var word []byte
		err := rows.Scan(&word)
		if err == nil {
			var del *datamesh.Deletion
			del, err = format.DecodeDeletion(word)
			list = append(list, del)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// copies returns at how many of the members each shard is, and the segments.
func copies(t testing.TB, members []*member) (map[datamesh.ShardKey]int, map[datamesh.SegmentID]*datamesh.Descriptor) {
	t.Helper()
	held, segments := map[datamesh.ShardKey]int{}, map[datamesh.SegmentID]*datamesh.Descriptor{}
	for _, x := range members {
		l := x.ledger(t)
		for key := range l.sizes {
			held[key]++
		}
		maps.Copy(segments, l.segments)
	}
	return held, segments
}

// indices returns how many different shards of a segment are held.
func indices(held map[datamesh.ShardKey]int, d *datamesh.Descriptor) (n int) {
	for i := range d.Shards {
		if held[datamesh.ShardKey{Segment: d.Segment, Index: i}] > 0 {
			n++
		}
	}
	return n
}

// complete waits until the members hold so many segments, all shards of each
// and none twice, and then until each account is exact.
func (m *mesh) complete(t testing.TB, segments int) {
	t.Helper()
	m.whole(t, segments, 0)
}

// runs counts the objects, of one segment each, in which the mesh keeps what many
// records of the catalogs of homes say.
func (m *mesh) runs(t testing.TB) (n int) {
	t.Helper()
	catalogs, err := filepath.Glob(filepath.Join(m.dir, "*", "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range catalogs {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		some := 0
		err = db.QueryRow(`SELECT count(*) FROM run WHERE level > 0`).Scan(&some) // those that others have replaced are about to go
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		n += some
	}
	return n
}

// whole waits until the members hold so many segments, beside those of runs, all
// shards of each and at most so many of them twice, and then until each account is
// exact.
func (m *mesh) whole(t testing.TB, segments, most int) {
	t.Helper()
	last := ""
	eventuallyIn(t, patience, fmt.Sprintf("%d segments are held, all shards of each and at most %d twice", segments, most), func() bool {
		held, all := copies(t, m.running())
		twice, missing := 0, 0
		for _, n := range held {
			twice += n - 1
		}
		for _, d := range all {
			missing += len(d.Shards) - indices(held, d)
		}
		runs := m.runs(t)
		if now := fmt.Sprintf("%d segments of %d and %d are held, %d shards are missing, and %d copies are too many", len(all), segments, runs, missing, twice); now != last {
			last = now
			t.Log(now)
		}
		return len(all) == segments+runs && twice <= most && missing == 0
	})
	for _, x := range m.running() {
		x.exact(t)
	}
}

// exact waits until the account of a member, its index and its files agree,
// and no file is left that was being written.
func (x *member) exact(t testing.TB) {
	t.Helper()
	last := ""
	eventually(t, x.home+" has an exact account", func() bool {
		wrong := x.inexact(t)
		if wrong != last {
			last = wrong
			if wrong != "" {
				t.Logf("%s: %s", x.home, wrong)
			}
		}
		return wrong == ""
	})
}

// inexact returns what does not agree, which while something is written is no
// mistake.
func (x *member) inexact(t testing.TB) string {
	t.Helper()
	s := result[node.Stats](t, x.run(t, "stats")).Store
	l := x.ledger(t)
	used, trash := int64(0), int64(0)
	for _, size := range l.sizes {
		used += size
	}
	for _, size := range l.trash {
		trash += size
	}
	if s == nil || s.Used+s.Trash+s.Reserve+s.Free != s.Capacity || s.Used != used || s.Trash != trash || s.Shards != int64(len(l.sizes)) {
		return fmt.Sprintf("%d shards of %d bytes are in the index, and %d bytes of trash; the account is %+v", len(l.sizes), used, trash, s)
	}
	files := x.shardFiles(t)
	for key, path := range files {
		if info, err := os.Stat(path); err != nil || info.Size() != l.sizes[key]+l.trash[key] || !l.files[key] {
			return fmt.Sprintf("the file of %v: %v, of which the index says %d bytes", key, err, l.sizes[key]+l.trash[key])
		}
	}
	if len(files) != len(l.files) {
		return fmt.Sprintf("there are %d files, and %d in the index", len(files), len(l.files))
	}
	if left, err := os.ReadDir(filepath.Join(x.home, "store", "tmp")); err != nil || len(left) > 0 {
		return fmt.Sprintf("left: %v, %v", left, err)
	}
	return ""
}

// readable gets all objects, which must have these contents.
func (u *user) readable(t testing.TB, objects map[datamesh.ObjectID][]byte) {
	t.Helper()
	for _, id := range slices.SortedFunc(maps.Keys(objects), func(a, b datamesh.ObjectID) int { return slices.Compare(a[:], b[:]) }) {
		u.reads(t, id, objects[id])
	}
}

// puts stores so many objects of all sizes and returns them, and how many
// segments they have.
func (u *user) puts(t *testing.T, seed, n int) (objects map[datamesh.ObjectID][]byte, segments int) {
	t.Helper()
	objects = map[datamesh.ObjectID][]byte{}
	for i := range n {
		content := noisy(byte(seed+i), 1000<<(i%12))
		stored := u.put(t, content, "--name", fmt.Sprint("file ", seed+i))
		objects[stored.ID] = content
		segments += stored.Segments
	}
	return objects, segments
}
