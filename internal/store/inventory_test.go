package store

import (
	"database/sql"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// end is the key after all others.
var end = datamesh.ShardKey{Segment: datamesh.SegmentID(slices.Repeat([]byte{0xff}, 32)), Index: datamesh.MaxShards}

func keysOf(list []Held) (keys []datamesh.ShardKey) {
	for _, h := range list {
		keys = append(keys, h.Key())
	}
	return keys
}

func wantKeys(t *testing.T, what string, list []Held, err error, want ...datamesh.ShardKey) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, datamesh.ShardKey.Compare)
	if diff := cmp.Diff(want, keysOf(list), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s, -want +got:\n%s", what, diff)
	}
}

func TestRegistryIsReadInPages(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	want := map[datamesh.SegmentID][]Holding{}
	for seed := range uint64(7) {
		s := storetest.Segment(t, seed, 4, 2, 4*small)
		if seed == 6 {
			s.Put(t, d, 3) // nobody reported it
			want[s.Descriptor.Segment] = nil
			continue
		}
		report(t, d, s, Holding{0, peer(1)}, Holding{5, peer(2)}, Holding{0, peer(3)})
		want[s.Descriptor.Segment] = []Holding{{0, peer(3)}, {0, peer(1)}, {5, peer(2)}}
	}
	got := map[datamesh.SegmentID][]Holding{}
	for after := (datamesh.SegmentID{}); ; {
		page, err := d.Track(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			got[s.Descriptor.Segment] = s.Holdings
		}
		if len(page) < 2 {
			break
		}
		after = page[1].Descriptor.Segment
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("registry, -want +got:\n%s", diff)
	}
}

func TestInventoryTellsWhatIsHereAndWhatPeersHave(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	a.Put(t, d, 0)
	a.Put(t, d, 4)
	b.Put(t, d, 1)
	list, err := d.Held(t.Context(), datamesh.First, 10)
	wantKeys(t, "held", list, err, a.Key(0), a.Key(4), b.Key(1))
	first, err := d.Held(t.Context(), datamesh.First, 1)
	wantKeys(t, "the first", first, err, keysOf(list)[0])
	rest, err := d.Held(t.Context(), keysOf(list)[0], 10)
	wantKeys(t, "those after it", rest, err, keysOf(list)[1:]...)

	report(t, d, a, Holding{0, peer(1)}, Holding{1, peer(2)})
	report(t, d, b, Holding{3, peer(1)})
	list, err = d.Reported(t.Context(), peer(1), datamesh.First, 10)
	wantKeys(t, "reported of 1", list, err, a.Key(0), b.Key(3))
}

// What a peer says of itself takes the place of what was said of it before.
func TestPeerCorrectsWhatIsSaidOfIt(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	var s []*storetest.Sample
	for seed := range uint64(4) {
		s = append(s, storetest.Segment(t, seed, 4, 2, 4*small))
	}
	slices.SortFunc(s, func(a, b *storetest.Sample) int { return a.Key(0).Compare(b.Key(0)) })
	for _, x := range s[:3] {
		report(t, d, x, Holding{0, peer(1)}, Holding{0, peer(2)})
	}
	if err := d.Drop(t.Context(), s[2].Deletion(1)); err != nil {
		t.Fatal(err)
	}
	held := []datamesh.ShardKey{s[1].Key(5), s[2].Key(0), s[3].Key(2)}
	unknown, deleted, err := d.Correct(t.Context(), peer(1), datamesh.First, end, held)
	if err != nil {
		t.Fatal(err)
	}
	if want := []datamesh.SegmentID{s[3].Descriptor.Segment}; !slices.Equal(unknown, want) {
		t.Errorf("unknown are %v, want %v", unknown, want)
	}
	if len(deleted) != 1 || deleted[0].Descriptor.Segment != s[2].Descriptor.Segment {
		t.Errorf("deleted: %v", deleted)
	}
	wantHolders(t, d, s[0], Holding{0, peer(2)})
	wantHolders(t, d, s[1], Holding{0, peer(2)}, Holding{5, peer(1)})

	// Outside of its range nothing changes.
	if _, _, err := d.Correct(t.Context(), peer(2), s[0].Key(5), s[1].Key(5), nil); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s[0], Holding{0, peer(2)})
	wantHolders(t, d, s[1], Holding{5, peer(1)})

	// A descriptor of which nothing is left goes.
	if _, _, err := d.Correct(t.Context(), peer(2), datamesh.First, end, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Locate(t.Context(), s[0].Descriptor.Segment); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("locate: %v", err)
	}
}

func TestCorrectRefusesKeysThatAreNotInTheirPlace(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{2, peer(1)})
	beyond := datamesh.ShardKey{Segment: s.Descriptor.Segment, Index: datamesh.MaxShards}
	for what, tt := range map[string]struct{ after, upto, first, second datamesh.ShardKey }{
		"a key before the range": {s.Key(1), s.Key(4), s.Key(0), s.Key(2)},
		"the end before it":      {s.Key(1), s.Key(4), s.Key(1), s.Key(2)},
		"a key behind the range": {s.Key(1), s.Key(4), s.Key(2), s.Key(5)},
		"keys out of order":      {s.Key(1), s.Key(4), s.Key(3), s.Key(2)},
		"a key twice":            {s.Key(1), s.Key(4), s.Key(3), s.Key(3)},
		"an index that is none":  {datamesh.First, end, s.Key(3), beyond},
	} {
		_, _, err := d.Correct(t.Context(), peer(1), tt.after, tt.upto, []datamesh.ShardKey{tt.first, tt.second})
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: got %v, want kind Invalid", what, err)
		}
	}
	wantHolders(t, d, s, Holding{2, peer(1)})
	_, _, err := d.Correct(t.Context(), peer(1), s.Key(1), s.Key(4), []datamesh.ShardKey{s.Key(4)})
	if err != nil {
		t.Errorf("the end of the range: %v", err)
	}
	wantHolders(t, d, s, Holding{4, peer(1)})
}

func TestRangesReachToTheVeryEnds(t *testing.T) {
	var zero datamesh.SegmentID
	keys := []datamesh.ShardKey{{Segment: zero}, {Segment: zero, Index: 255}, {Segment: end.Segment}, {Segment: end.Segment, Index: 255}}
	d := openDisk(t, t.TempDir(), Options{})
	for what, tt := range map[string]struct {
		after, upto datamesh.ShardKey
		left        []datamesh.ShardKey
	}{
		"everything":    {datamesh.First, end, nil},
		"nothing":       {keys[0], keys[0], keys},
		"the first":     {datamesh.First, keys[0], keys[1:]},
		"but the first": {keys[0], end, keys[:1]},
		"the last":      {keys[2], keys[3], keys[:3]},
		"but the last":  {datamesh.First, keys[2], keys[3:]},
		"backwards":     {end, datamesh.First, keys},
	} {
		err := d.commit(func(b *batch) error {
			for _, key := range keys { // no descriptor has such a hash
				b.keepDescriptor(key.Segment, []byte{0})
				b.hold(key.Segment, []Holding{{key.Index, peer(1)}})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Correct(t.Context(), peer(1), tt.after, tt.upto, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		var left []datamesh.ShardKey
		err = d.index.rows(func(rows *sql.Rows) error {
			key, err := scanKey(rows)
			left = append(left, key)
			return err
		}, `SELECT segment, idx FROM holdings ORDER BY segment, idx`)
		if diff := cmp.Diff(tt.left, left, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("%s is taken out, -want +got of what is left: %v\n%s", what, err, diff)
		}
	}
}

// TestWordOfAPeerHoldsInItsRange has three peers say of random ranges what
// comes to their mind, and knows what they have said last.
func TestWordOfAPeerHoldsInItsRange(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := openDisk(t, t.TempDir(), Options{})
	var all []datamesh.ShardKey
	samples := map[datamesh.SegmentID]*storetest.Sample{}
	known := map[datamesh.SegmentID]bool{} // for ever: shards are here
	for i := range uint64(6) {
		s := storetest.Segment(t, seed+i, 2, 2, 4*small)
		samples[s.Descriptor.Segment] = s
		all = append(all, s.Keys()...)
		if i == 0 {
			s.Put(t, d, 3)
			known[s.Descriptor.Segment] = true
		}
	}
	slices.SortFunc(all, datamesh.ShardKey.Compare)
	ends := slices.Concat([]datamesh.ShardKey{datamesh.First}, all, []datamesh.ShardKey{end})
	said := map[datamesh.PeerID]map[datamesh.ShardKey]bool{peer(1): {}, peer(2): {}, peer(3): {}}
	isKnown := func(segment datamesh.SegmentID) bool {
		for _, keys := range said {
			for key := range keys {
				if key.Segment == segment {
					return true
				}
			}
		}
		return known[segment]
	}
	for step := range 60 {
		who := peer(byte(1 + random.IntN(3)))
		after, upto := ends[random.IntN(len(ends))], ends[random.IntN(len(ends))]
		var keys []datamesh.ShardKey
		var want []datamesh.SegmentID
		now := maps.Clone(said[who])
		for _, key := range all {
			if key.Compare(after) <= 0 || key.Compare(upto) > 0 {
				continue
			}
			delete(now, key)
			if random.IntN(2) == 0 {
				continue
			}
			keys = append(keys, key)
			if isKnown(key.Segment) {
				now[key] = true
			} else if !slices.Contains(want, key.Segment) {
				want = append(want, key.Segment)
			}
		}
		unknown, deleted, err := d.Correct(t.Context(), who, after, upto, keys)
		if err != nil || len(deleted) > 0 {
			t.Fatalf("step %d: %v, deleted %v", step, err, deleted)
		}
		if diff := cmp.Diff(want, unknown, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("step %d: unknown, -want +got:\n%s", step, diff)
		}
		said[who] = now
		for _, segment := range unknown {
			if random.IntN(2) == 0 { // else word of it is lost
				report(t, d, samples[segment], Holding{1, who})
				now[samples[segment].Key(1)] = true
			}
		}
		for p, keys := range said {
			list, err := d.Reported(t.Context(), p, datamesh.First, 100)
			wantKeys(t, "reported", list, err, slices.Collect(maps.Keys(keys))...)
		}
		checkHolders(t, d)
		list, err := d.Track(t.Context(), datamesh.SegmentID{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for segment := range samples {
			tracked := slices.ContainsFunc(list, func(x Tracked) bool { return x.Descriptor.Segment == segment })
			if tracked != isKnown(segment) {
				t.Errorf("step %d: %s is tracked: %v", step, segment, tracked)
			}
		}
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
}

// A registrar does not ask for a descriptor that it has, nor forget the segment
// until it is told, because its one holder has another shard of it now.
func TestOneHolderThatHasAnotherShardNow(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{0, peer(1)})
	unknown, _, err := d.Correct(t.Context(), peer(1), datamesh.First, end, []datamesh.ShardKey{s.Key(5)})
	if err != nil || len(unknown) > 0 {
		t.Errorf("correct: unknown are %v, %v", unknown, err)
	}
	wantHolders(t, d, s, Holding{5, peer(1)})
}

func TestSegmentWithoutHoldersStaysWhileShardsAreHere(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	s.Put(t, d, 3)
	report(t, d, s, Holding{0, peer(1)})
	if _, _, err := d.Correct(t.Context(), peer(1), datamesh.First, end, nil); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s)
	list, err := d.Track(t.Context(), datamesh.SegmentID{}, 10)
	if err != nil || len(list) != 1 || list[0].Descriptor.Segment != s.Descriptor.Segment || len(list[0].Holdings) > 0 {
		t.Errorf("tracked are %v, %v", list, err)
	}
	held, err := d.Held(t.Context(), datamesh.First, 10)
	wantKeys(t, "held", held, err, s.Key(3))
	s.Check(t, d, 3)
	if err := d.Remove(t.Context(), s.Key(3)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Locate(t.Context(), s.Descriptor.Segment); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("locate, when nothing is left: %v", err)
	}
}

// What was said again is not written again: it keeps its place among those
// reported, and takes no room.
func TestWordThatIsKnownChangesNothing(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{0, peer(1)}, Holding{0, peer(2)})
	if _, _, err := d.Correct(t.Context(), peer(1), datamesh.First, end, []datamesh.ShardKey{s.Key(0)}); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, s, Holding{0, peer(2)}, Holding{0, peer(1)})
}

func TestIndexOutsideOfItsSegmentIsNotEntered(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	report(t, d, s, Holding{0, peer(1)})
	unknown, _, err := d.Correct(t.Context(), peer(1), datamesh.First, end, []datamesh.ShardKey{s.Key(0), s.Key(6)})
	if err != nil || len(unknown) > 0 {
		t.Errorf("correct: unknown are %v, %v", unknown, err)
	}
	wantHolders(t, d, s, Holding{0, peer(1)})
}

// TestInventoryInPagesOfAnySize has segments of which a page ends in the midst.
func TestInventoryInPagesOfAnySize(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	var want []datamesh.ShardKey
	for seed := range uint64(4) {
		s := storetest.Segment(t, seed, 2, 3, 2*small)
		var holdings []Holding
		for i := range s.Bytes {
			s.Put(t, d, i)
			holdings = append(holdings, Holding{i, peer(1)})
		}
		report(t, d, s, holdings...)
		want = append(want, s.Keys()...)
	}
	for what, list := range map[string]func(after datamesh.ShardKey, limit int) ([]Held, error){
		"held": func(after datamesh.ShardKey, limit int) ([]Held, error) { return d.Held(t.Context(), after, limit) },
		"reported": func(after datamesh.ShardKey, limit int) ([]Held, error) {
			return d.Reported(t.Context(), peer(1), after, limit)
		},
	} {
		for size := 1; size <= len(want)+1; size++ {
			var got []Held
			for after := datamesh.First; ; {
				page, err := list(after, size)
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, page...); len(page) < size {
					break
				}
				after = page[size-1].Key()
			}
			wantKeys(t, what, got, nil, want...)
		}
		for _, none := range []int{0, -1} {
			page, err := list(datamesh.First, none)
			wantKeys(t, what, page, err)
		}
	}
}

// A descriptor that has been damaged on the disk keeps nobody from those beside
// it, and is asked for again.
func TestDamagedDescriptorHidesNoOther(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	var s []*storetest.Sample
	for seed := range uint64(3) {
		x := storetest.Segment(t, seed, 4, 2, 4*small)
		x.Put(t, d, 1)
		report(t, d, x, Holding{2, peer(1)}, Holding{3, peer(1)})
		s = append(s, x)
	}
	slices.SortFunc(s, func(a, b *storetest.Sample) int { return a.Key(0).Compare(b.Key(0)) })
	bad := s[1].Descriptor.Segment
	if err := d.commit(func(b *batch) error {
		b.exec(`UPDATE segments SET descriptor = x'00' WHERE segment = ?`, bad[:])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	list, err := d.Held(t.Context(), datamesh.First, 2)
	wantKeys(t, "held", list, err, s[0].Key(1), s[2].Key(1))
	list, err = d.Reported(t.Context(), peer(1), datamesh.First, 3)
	wantKeys(t, "reported", list, err, s[0].Key(2), s[0].Key(3), s[2].Key(2))
	tracked, err := d.Track(t.Context(), datamesh.SegmentID{}, 2)
	if err != nil || len(tracked) != 2 || tracked[1].Descriptor.Segment != s[2].Descriptor.Segment || len(tracked[1].Holdings) != 2 {
		t.Errorf("tracked are %v, %v", tracked, err)
	}

	keys := []datamesh.ShardKey{s[1].Key(2), s[1].Key(3)}
	unknown, _, err := d.Correct(t.Context(), peer(1), s[0].Key(5), s[1].Key(5), keys)
	if err != nil || !slices.Equal(unknown, []datamesh.SegmentID{bad}) {
		t.Errorf("unknown are %v, %v, want %v", unknown, err, bad)
	}
	report(t, d, s[1], Holding{2, peer(1)}, Holding{3, peer(1)})
	wantHolders(t, d, s[1], Holding{2, peer(1)}, Holding{3, peer(1)})
	s[1].Check(t, d, 1)
}

// What all members ask every few minutes must not have the registrar read its whole
// index, or sort.
func TestInventoryGoesByTheIndex(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	for query, want := range map[string]string{
		queryHeld:     "PRIMARY KEY ((segment,idx)>",
		queryReported: "PRIMARY KEY (peer=? AND (segment,idx)>",
		queryRange:    "PRIMARY KEY (peer=? AND (segment,idx)>(?,?) AND (segment,idx)<",
	} {
		rows, err := d.index.read.Query("EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(plan, "\n")
		if !strings.Contains(plan[0], want) || strings.Contains(all, "SCAN") || strings.Contains(all, "TEMP B-TREE") {
			t.Errorf("%s:\n%s\nwant first …%s", query, all, want)
		}
	}
}

func TestForgottenHoldersLeaveTheShardsThatAreHere(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{})
	a, b := storetest.Segment(t, 1, 4, 2, 4*small), storetest.Segment(t, 2, 4, 2, 4*small)
	a.Put(t, d, 3)
	report(t, d, a, Holding{0, peer(1)})
	report(t, d, b, Holding{0, peer(1)})
	if err := d.Forget(t.Context(), []datamesh.SegmentID{a.Segment, b.Segment}); err != nil {
		t.Fatal(err)
	}
	wantHolders(t, d, a)
	a.Check(t, d, 3)
	if _, _, err := d.Locate(t.Context(), b.Segment); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("locate: %v", err)
	}
}
