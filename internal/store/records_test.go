package store

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"

	"github.com/google/go-cmp/cmp"
)

// logged makes a record of an owner, each of whom has a byte for a name.
func logged(t testing.TB, owner, device byte, seq, base uint64, payload []byte) *datamesh.Record {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{owner}, ed25519.SeedSize))
	r, err := format.NewRecord(key, datamesh.MeshID{1}, [16]byte{device}, seq, base, payload)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func putRecord(t testing.TB, d *Disk, want errs.Kind, r *datamesh.Record) {
	t.Helper()
	if err := d.PutRecord(t.Context(), r); errs.KindOf(err) != want || (err == nil) != (want == errs.Other) {
		t.Errorf("put of record %d of device %d: got %v, want kind %s", r.Seq, r.Device[0], err, want.Name())
	}
}

// recordsIn returns all records of a store, read some keys at a time, and each
// by its key.
func recordsIn(t testing.TB, d *Disk) (all []*datamesh.Record) {
	t.Helper()
	for after := (datamesh.RecordKey{}); ; {
		keys, err := d.RecordKeys(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if key.Compare(after) <= 0 {
				t.Fatalf("key %v comes after %v", key, after)
			}
			r, err := d.Record(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			all, after = append(all, r), key
		}
		if len(keys) < 3 {
			return all
		}
	}
}

// wantRecords compares what is in a store with what should be, in any order.
func wantRecords(t testing.TB, what string, d *Disk, want ...*datamesh.Record) {
	t.Helper()
	slices.SortFunc(want, func(a, b *datamesh.Record) int { return format.RecordKey(a).Compare(format.RecordKey(b)) })
	if diff := cmp.Diff(want, recordsIn(t, d)); diff != "" {
		t.Errorf("%s: records, -want +got:\n%s", what, diff)
	}
	var keys []datamesh.RecordKey
	for _, r := range want {
		keys = append(keys, format.RecordKey(r))
	}
	has, err := d.HasRecords(t.Context(), keys)
	if err != nil || len(has) != len(want) || slices.Contains(has, false) {
		t.Errorf("%s: has: %v, %v", what, has, err)
	}
}

// live are those of a set that count: of each device of an owner the ones
// after the highest base among them.
func live(all []*datamesh.Record) (list []*datamesh.Record) {
	type device struct {
		owner  datamesh.OwnerKey
		device [16]byte
	}
	base := map[device]uint64{}
	for _, r := range all {
		d := device{r.Owner, r.Device}
		base[d] = max(base[d], r.Base)
	}
	for _, r := range all {
		if r.Seq > base[device{r.Owner, r.Device}] {
			list = append(list, r)
		}
	}
	return list
}

// Whatever the order in which records come, and however often, the same are
// kept: those of a device after its highest base. So two stores that give each
// other what they have agree.
func TestRecordsMergeInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := openDisk(t, t.TempDir(), Options{})
	var want []*datamesh.Record
	for try := range byte(60) { // each with owners of its own
		var all []*datamesh.Record
		for i := range 1 + random.IntN(14) {
			seq := 1 + random.Uint64N(8)
			all = append(all, logged(t, 2*try+byte(random.IntN(2)), byte(random.IntN(2)), seq, random.Uint64N(seq), []byte{byte(i)}))
		}
		want = append(want, live(all)...)
		order := slices.Concat(all, all[:random.IntN(len(all)+1)])
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, r := range order {
			if err := d.PutRecord(t.Context(), r); err != nil && !errors.Is(err, errs.Exists) {
				t.Fatal(err)
			}
		}
		var keys []datamesh.RecordKey
		for _, r := range all {
			keys = append(keys, format.RecordKey(r))
		}
		if has, err := d.HasRecords(t.Context(), keys); err != nil || slices.Contains(has, false) {
			t.Errorf("try %d: of what came, has: %v, %v", try, has, err)
		}
	}
	wantRecords(t, "all", d, want...)
}

// A number that a device gives twice, as after a restored image of its disk, is
// told to whoever uses it, and loses nothing.
func TestRecordsOfOneNumberAreBothKept(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	a, b := logged(t, 1, 1, 2, 0, []byte("one")), logged(t, 1, 1, 2, 0, []byte("other"))
	elsewhere := logged(t, 1, 2, 2, 0, []byte("of another device"))
	putRecord(t, d, errs.Other, a)
	putRecord(t, d, errs.Other, a)
	putRecord(t, d, errs.Exists, b)
	putRecord(t, d, errs.Exists, b)
	putRecord(t, d, errs.Exists, a)
	putRecord(t, d, errs.Other, elsewhere)
	wantRecords(t, "two of one number", d, a, b, elsewhere)
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	wantRecords(t, "after a restart", d, a, b, elsewhere)
	next := logged(t, 1, 1, 3, 2, []byte("both are read"))
	putRecord(t, d, errs.Other, next)
	putRecord(t, d, errs.Exists, b) // superseded
	wantRecords(t, "when both are superseded", d, next, elsewhere)
}

func TestRecordsAreForgotten(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := logged(t, 1, 1, 1, 0, []byte("a")), logged(t, 1, 1, 2, 0, []byte("b"))
	putRecord(t, d, errs.Other, a)
	putRecord(t, d, errs.Other, b)
	if err := d.ForgetRecords(t.Context(), []datamesh.RecordKey{format.RecordKey(b), {}}); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, "of two", d, a)
	if _, err := d.Record(t.Context(), format.RecordKey(b)); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("what is forgotten: got %v, want kind FileNotFound", err)
	}
	if has, err := d.HasRecords(t.Context(), []datamesh.RecordKey{format.RecordKey(b)}); err != nil || has[0] {
		t.Errorf("what is forgotten is here: %v, %v", has, err)
	}
}

func TestRecordsThatTheOwnerDidNotSignAreNotKept(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	r := logged(t, 1, 1, 1, 0, []byte("a"))
	r.Payload = []byte("b")
	putRecord(t, d, errs.Authentication, r)
	wantRecords(t, "a forged one", d)
}

// An owner has so many devices, records of each, and bytes; beyond that he must
// supersede some first. Of another owner none are missing.
func TestRecordsOfAnOwnerHaveLimits(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{Capacity: 1 << 30})
	for i := range MaxRecordDevices {
		putRecord(t, d, errs.Other, logged(t, 1, byte(i), 1, 0, []byte{1}))
	}
	putRecord(t, d, errs.Full, logged(t, 1, MaxRecordDevices, 1, 0, []byte{1}))
	putRecord(t, d, errs.Other, logged(t, 1, MaxRecordDevices-1, 2, 0, []byte{1}))
	putRecord(t, d, errs.Other, logged(t, 2, MaxRecordDevices, 1, 0, []byte{1}))

	for seq := range uint64(MaxRecordsOfDevice) {
		putRecord(t, d, errs.Other, logged(t, 3, 1, seq+1, 0, []byte{1}))
	}
	putRecord(t, d, errs.Full, logged(t, 3, 1, MaxRecordsOfDevice+1, 0, []byte{1}))
	putRecord(t, d, errs.Other, logged(t, 3, 1, MaxRecordsOfDevice+1, 1, []byte{1}))
	putRecord(t, d, errs.Full, logged(t, 3, 1, MaxRecordsOfDevice+2, 1, []byte{1}))
	putRecord(t, d, errs.Other, logged(t, 3, 2, 1, 0, []byte{1}))

	n, large := uint64(0), make([]byte, datamesh.MaxRecordPayload)
	for ; ; n++ {
		r := logged(t, 4, byte(n/100), n+1, 0, large)
		if len(format.EncodeRecord(r))*int(n+1) > MaxRecordBytes {
			putRecord(t, d, errs.Full, r)
			break
		}
		putRecord(t, d, errs.Other, r)
	}
	if n <= 100 {
		t.Fatalf("only %d were taken", n)
	}
	putRecord(t, d, errs.Other, logged(t, 4, 0, 101, 1, large)) // in the place of one
	putRecord(t, d, errs.Full, logged(t, 4, 1, n+1, 0, large))
	checkAccount(t, d)
}

// Records of owners of whom nothing is here are taken while there is room; others'
// may take twice that. What supersedes as much as it takes is always taken.
func TestRecordsOfStrangerOwnersEndBeforeTheDisk(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	putRecord(t, d, errs.Other, logged(t, 1, 1, 1, 0, make([]byte, 1000)))
	closeDisk(t, d)
	d = openDisk(t, dir, Options{Reserve: free * 3}) // of which a half is not there, and a quarter is
	putRecord(t, d, errs.Full, logged(t, 2, 1, 1, 0, []byte("a stranger's")))
	putRecord(t, d, errs.Other, logged(t, 1, 1, 2, 0, make([]byte, 1000)))
	closeDisk(t, d)
	d = openDisk(t, dir, Options{Reserve: free * 5})
	putRecord(t, d, errs.Full, logged(t, 1, 1, 3, 0, []byte("one more")))
	putRecord(t, d, errs.Full, logged(t, 1, 1, 3, 1, make([]byte, 2000)))
	last := logged(t, 1, 1, 3, 2, make([]byte, 2000))
	putRecord(t, d, errs.Other, last)
	putRecord(t, d, errs.Other, last)
	wantRecords(t, "what is left", d, last)
}

// rot changes the last byte of a record in a database, which is one of its
// signature.
func rot(t *testing.T, db string, r *datamesh.Record) {
	t.Helper()
	b, key := format.EncodeRecord(r), format.RecordKey(r)
	b[len(b)-1] ^= 1
	execSQL(t, db, fmt.Sprintf(`UPDATE records SET record = X'%x' WHERE digest = X'%x'`, b, key.Digest))
}

// Records come through a rebuilt index.
func TestRecordsOutliveTheirIndex(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "node.db")
	d := openDisk(t, dir, Options{})
	a, b := logged(t, 1, 1, 2, 0, []byte("one")), logged(t, 1, 1, 2, 0, []byte("other"))
	c, forged := logged(t, 2, 1, 9, 8, []byte("of another owner")), logged(t, 3, 1, 1, 0, []byte("forged"))
	putRecord(t, d, errs.Other, a)
	putRecord(t, d, errs.Exists, b)
	putRecord(t, d, errs.Other, c)
	putRecord(t, d, errs.Other, forged)
	closeDisk(t, d)
	rot(t, db, forged)
	root := rootPage(t, db, "holdings")
	blank(t, db, func(n int, _ []byte) bool { return n == root })
	rebuilt := false
	d = openDisk(t, dir, Options{Events: Events{Rebuilt: func(string, int, int) { rebuilt = true }}})
	if !rebuilt {
		t.Error("the index was not rebuilt")
	}
	wantRecords(t, "in the new index", d, a, b, c)
}

// A record that has rotted is told from one that is whole.
func TestRottenRecordIsIntegrity(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	r := logged(t, 1, 1, 1, 0, []byte("payload"))
	putRecord(t, d, errs.Other, r)
	closeDisk(t, d)
	rot(t, filepath.Join(dir, "node.db"), r)
	d = openDisk(t, dir, Options{})
	if _, err := d.Record(t.Context(), format.RecordKey(r)); !errors.Is(err, errs.Integrity) {
		t.Errorf("got %v, want kind Integrity", err)
	}
}

func TestStoreWithoutRecordsIsGivenThem(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	closeDisk(t, d)
	execSQL(t, filepath.Join(dir, "node.db"), `DROP TABLE records`)
	d = openDisk(t, dir, Options{})
	r := logged(t, 1, 1, 1, 0, []byte("a"))
	putRecord(t, d, errs.Other, r)
	wantRecords(t, "in a store of before", d, r)
}
