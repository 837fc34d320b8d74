package store

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// checkHolders compares what the rows of segments say of holders with what the peers
// hold, and with which peers are known.
func checkHolders(t testing.TB, d *Disk) {
	t.Helper()
	type entry struct {
		peer    int64
		segment datamesh.SegmentID
		index   int
	}
	byPeer := func(a, b entry) int {
		if a.peer != b.peer {
			return int(a.peer - b.peer)
		}
		return datamesh.ShardKey{Segment: a.segment, Index: a.index}.Compare(datamesh.ShardKey{Segment: b.segment, Index: b.index})
	}
	var said, held []entry
	err := d.index.rows(func(rows *sql.Rows) error {
		var segment, value []byte
		if err := rows.Scan(&segment, &value); err != nil {
			return err
		}
		list, err := decodeHolders(value)
		for _, h := range list {
			said = append(said, entry{h.peer, datamesh.SegmentID(segment), h.index})
		}
		return err
	}, `SELECT segment, holders FROM segments`)
	if err != nil {
		t.Fatal(err)
	}
	err = d.index.rows(func(rows *sql.Rows) error {
		e := entry{}
		key, err := scanKey(rows, &e.peer)
		e.segment, e.index = key.Segment, key.Index
		held = append(held, e)
		return err
	}, `SELECT segment, idx, peer FROM holdings ORDER BY peer, segment, idx`)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(said, byPeer)
	if diff := cmp.Diff(said, held, cmpopts.EquateEmpty(), cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("the rows of segments and what peers hold, -rows +peers:\n%s", diff)
	}
	var wrong int
	if err := d.index.row(`SELECT (SELECT count(*) FROM peers WHERE number NOT IN (SELECT peer FROM holdings))
		+ (SELECT count(*) FROM holdings WHERE peer NOT IN (SELECT number FROM peers))`, nil, &wrong); err != nil || wrong != 0 {
		t.Errorf("%d peers hold nothing, or are not known; %v", wrong, err)
	}
}

func TestHoldersAreEncodedAsTheyWere(t *testing.T) {
	list := holders{{0, 300, 0}, {0, 1, 1_700_000_000}, {5, 2, 0}, {255, 1 << 40, 1}}
	want := []byte{0x78, 0x71, 0x65, 0x3e, 0, 0xac, 2, 0, 0, 1, 0x80, 0xe2, 0xcf, 0xaa, 6, 5, 2, 0, 255, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1}
	if got := encodeHolders(list); !bytes.Equal(got, want) {
		t.Errorf("encoded: %x, want %x", got, want)
	}
	if got, err := decodeHolders(want); err != nil || !slices.Equal(got, list) {
		t.Errorf("decoded: %v, %v, want %v", got, err, list)
	}
}

func TestHoldersRefuseWhatIsWrong(t *testing.T) {
	for what, b := range map[string][]byte{
		"a number that is missing":      {0, 1},
		"one that is cut off":           {0, 1, 0x80},
		"one of 65 bits":                {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0},
		"one below 0":                   {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0},
		"an index after a greater":      {1, 1, 0, 0, 1, 0},
		"five of one shard":             {0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0},
		"more bytes than all can have":  make([]byte, datamesh.MaxShards*maxHolders*maxHolder+1),
		"an index with nothing, at end": {0, 1, 0, 1},
	} {
		if _, err := decodeHolders(checked(b)); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %v, want kind Serialization", what, err)
		}
	}
	good := encodeHolders(holders{{0, 300, 0}, {5, 2, 1_700_000_000}})
	for at := range good {
		if _, err := decodeHolders(good[:at]); at > 0 && !errors.Is(err, errs.Serialization) {
			t.Errorf("cut off at %d: got %v, want kind Serialization", at, err)
		}
		for bit := range 8 {
			b := bytes.Clone(good)
			b[at] ^= 1 << bit
			if list, err := decodeHolders(b); !errors.Is(err, errs.Serialization) {
				t.Errorf("byte %d with another bit %d: got %v, %v, want kind Serialization", at, bit, list, err)
			}
		}
	}
}

// checked returns what stands behind the checksum, with it.
func checked(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)), b...)
}

func FuzzHolders(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeHolders(holders{{0, 300, 0}, {0, 1, 1_700_000_000}, {5, 2, 0}, {255, 1 << 40, 1}})[checksumLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeHolders(b); err != nil && !errors.Is(err, errs.Serialization) {
			t.Errorf("got %v, want kind Serialization", err)
		}
		list, err := decodeHolders(checked(b))
		if err != nil {
			return
		}
		again, err := decodeHolders(encodeHolders(list))
		if err != nil || !slices.Equal(again, list) {
			t.Errorf("%v is read again as %v, %v", list, again, err)
		}
		if len(list) > datamesh.MaxShards*maxHolders {
			t.Errorf("%d holders", len(list))
		}
	})
}

// Peers that do not come to be holders, or are none any more, leave nothing behind:
// anybody can make any number of them.
func TestPeersThatHoldNothingAreForgotten(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := openDisk(t, t.TempDir(), Options{})
	s, other := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	for range 30 {
		var holdings []Holding
		for range random.IntN(20) {
			holdings = append(holdings, Holding{random.IntN(3), peer(byte(random.IntN(200)))})
		}
		report(t, d, []*storetest.Sample{s, other}[random.IntN(2)], holdings...)
		checkHolders(t, d)
	}
	report(t, d, s, Holding{0, peer(1)})
	if err := d.Forget(t.Context(), []datamesh.SegmentID{s.Segment}); err != nil {
		t.Fatal(err)
	}
	checkHolders(t, d)
	if err := d.Drop(t.Context(), other.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	checkHolders(t, d)
}

// A peer that comes back has another number, and nobody takes it for one of before.
func TestNumbersOfPeersAreNotGivenAgain(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	for n := range byte(5) {
		report(t, d, s, Holding{0, peer(n)})
		wantHolders(t, d, s, Holding{0, peer(n)}) // now it is in memory
		if err := d.Forget(t.Context(), []datamesh.SegmentID{s.Segment}); err != nil {
			t.Fatal(err)
		}
	}
	err := d.commit(func(b *batch) error {
		b.keepDescriptor(s.Segment, []byte{0})
		b.hold(s.Segment, []Holding{{0, peer(9)}})
		b.fail(syscall.EIO)
		return nil
	})
	if err == nil {
		t.Fatal("the change was made")
	}
	report(t, d, s, Holding{0, peer(8)})
	wantHolders(t, d, s, Holding{0, peer(8)})
	checkHolders(t, d)
}

// More than there are connections read what they all have to look up first.
func TestManyReadHoldersAtOnce(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	want := []Holding{{0, peer(4)}, {0, peer(3)}, {0, peer(2)}, {0, peer(1)}}
	report(t, d, s, want[3], want[2], want[1], want[0])
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	var wait sync.WaitGroup
	for range 8 * readers {
		wait.Go(func() {
			list, err := d.Track(t.Context(), datamesh.SegmentID{}, 10)
			if err != nil || len(list) != 1 || !slices.Equal(list[0].Holdings, want) {
				t.Errorf("tracked are %v, %v", list, err)
			}
		})
		wait.Go(func() { wantHolders(t, d, s, want...) })
	}
	wait.Wait()
}

// spoil changes what is stored.
func spoil(t *testing.T, d *Disk, text string, args ...any) {
	t.Helper()
	if err := d.commit(func(b *batch) error { b.exec(text, args...); return nil }); err != nil {
		t.Fatal(err)
	}
}

// rots are ways in which rows of who holds what rot, with a peer's number and an index
// of one byte.
var rots = map[string]string{
	"no value":             `UPDATE segments SET holders = x'0080'`,
	"another peer":         `UPDATE segments SET holders = CAST(substr(holders, 1, 5) || x'07' || substr(holders, 7) AS BLOB)`,
	"another index":        `UPDATE segments SET holders = CAST(substr(holders, 1, 4) || x'01' || substr(holders, 6) AS BLOB)`,
	"what a peer holds":    `UPDATE holdings SET idx = 4 WHERE idx = 0`,
	"nothing by a peer":    `DELETE FROM holdings WHERE idx = 0`,
	"another peer's entry": `UPDATE holdings SET peer = 99 WHERE idx = 0`,
}

// Of a row that has rotted nobody is believed, and whoever holds something is asked for
// it, and entered again when he says so.
func TestRottenHoldersAreToldAgain(t *testing.T) {
	for what, damage := range rots {
		d := openDisk(t, t.TempDir(), Options{})
		s := storetest.Segment(t, 1, 4, 2, 4*small)
		report(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
		spoil(t, d, damage)
		list, err := d.Reported(t.Context(), peer(1), datamesh.First, 10)
		if err != nil || slices.ContainsFunc(list, func(h Held) bool { return h.Index == 0 }) {
			t.Errorf("%s: reported is %v, %v, and so nobody would ask", what, keysOf(list), err)
		}
		for n, key := range []datamesh.ShardKey{s.Key(0), s.Key(1)} {
			p := peer(byte(n + 1))
			if unknown, _, err := d.Correct(t.Context(), p, datamesh.First, end, []datamesh.ShardKey{key}); err != nil || len(unknown) > 0 {
				t.Errorf("%s: correct: %v, %v", what, unknown, err)
			}
			list, err := d.Reported(t.Context(), p, datamesh.First, 10)
			wantKeys(t, what+": reported", list, err, key)
		}
		wantHolders(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
		if what != "another peer's entry" { // which nobody speaks of
			checkHolders(t, d)
		}
	}
}

// Rows that have rotted keep no segment known that is deleted or forgotten.
func TestRottenHoldersGoWithTheirSegment(t *testing.T) {
	for what, damage := range rots {
		d := openDisk(t, t.TempDir(), Options{})
		s, other := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
		report(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
		report(t, d, other, Holding{0, peer(1)}, Holding{1, peer(2)})
		spoil(t, d, damage)
		if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Locate(t.Context(), s.Segment); !errors.Is(err, errs.Deleted) {
			t.Errorf("%s: locate of what was deleted: got %v, want kind Deleted", what, err)
		}
		if err := d.Forget(t.Context(), []datamesh.SegmentID{other.Segment}); err != nil {
			t.Fatal(err)
		}
		if list, err := d.Track(t.Context(), datamesh.SegmentID{}, 10); err != nil || len(list) > 0 {
			t.Errorf("%s: %d segments are tracked, %v", what, len(list), err)
		}
	}
}
