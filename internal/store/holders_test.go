package store

import (
	"bytes"
	"database/sql"
	"errors"
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
	want := []byte{0, 0xac, 2, 0, 0, 1, 0x80, 0xe2, 0xcf, 0xaa, 6, 5, 2, 0, 255, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1}
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
		if _, err := decodeHolders(b); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %v, want kind Serialization", what, err)
		}
	}
}

func FuzzHolders(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeHolders(holders{{0, 300, 0}, {0, 1, 1_700_000_000}, {5, 2, 0}, {255, 1 << 40, 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeHolders(b)
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

// Of a row that has rotted nobody is believed, and whoever holds something is entered
// again when he says so.
func TestRottenHoldersAreToldAgain(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
	if err := d.commit(func(b *batch) error {
		b.exec(`UPDATE segments SET holders = x'0080'`)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s)
	for n, key := range []datamesh.ShardKey{s.Key(0), s.Key(1)} {
		if unknown, _, err := d.Correct(t.Context(), peer(byte(n+1)), datamesh.First, end, []datamesh.ShardKey{key}); err != nil || len(unknown) > 0 {
			t.Errorf("correct: %v, %v", unknown, err)
		}
	}
	wantHolders(t, d, s, Holding{0, peer(1)}, Holding{1, peer(2)})
	checkHolders(t, d)
}
