package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sumsOf returns the sums of keys, as they are for about n.
func sumsOf(key [32]byte, n int, keys ...datamesh.ShardKey) Sums {
	s := NewSums(key, n)
	for _, k := range keys {
		s.Add(k)
	}
	return s
}

// someKey returns one of very many keys.
func someKey(random *rand.Rand) datamesh.ShardKey {
	id := sha256.Sum256(binary.BigEndian.AppendUint64(nil, random.Uint64()))
	return datamesh.ShardKey{Segment: id, Index: random.IntN(datamesh.MaxShards)}
}

// rangeOf returns the range that a key lies in.
func rangeOf(t *testing.T, s Sums, k datamesh.ShardKey) int {
	t.Helper()
	i := sort.Search(len(s.sums), func(i int) bool { _, upto := s.Bounds(i); return k.Compare(upto) <= 0 })
	if i == len(s.sums) {
		t.Fatalf("key %v lies in no range", k)
	}
	if after, _ := s.Bounds(i); k.Compare(after) <= 0 {
		t.Fatalf("key %v lies between range %d and the one before", k, i)
	}
	return i
}

func TestSumsDifferWhereTheSetsDo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for try := range 100 {
		ours, theirs := map[datamesh.ShardKey]bool{}, map[datamesh.ShardKey]bool{}
		for range random.IntN(2000) {
			k := someKey(random)
			ours[k], theirs[k] = true, true
		}
		for range random.IntN(20) {
			[]map[datamesh.ShardKey]bool{ours, theirs}[random.IntN(2)][someKey(random)] = true
		}
		var key [32]byte
		binary.BigEndian.PutUint64(key[:], random.Uint64())
		a := NewSums(key, random.IntN(1<<random.IntN(20)))
		b := a.Like()
		want := map[int]bool{}
		for k := range ours {
			a.Add(k)
			if in := rangeOf(t, a, k); !theirs[k] {
				want[in] = true
			}
		}
		for k := range theirs {
			b.Add(k)
			if in := rangeOf(t, b, k); !ours[k] {
				want[in] = true
			}
		}
		for _, got := range [][]int{a.Differ(b), b.Differ(a)} {
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("try %d, of %d ranges differ, -want +got:\n%s", try, len(a.sums), diff)
			}
		}
		for k := range ours {
			a.Add(k) // takes it out
		}
		if got := a.Differ(a.Like()); len(got) > 0 {
			t.Errorf("try %d: of nothing %v differ", try, got)
		}
	}
}

// One who could tell the sums of shards beforehand could have some of them pass
// for others.
func TestSumsDependOnTheKey(t *testing.T) {
	k := datamesh.ShardKey{Index: 1}
	a, b := sumsOf([32]byte{1}, 1, k), sumsOf([32]byte{2}, 1, k)
	if a.sums[0] == b.sums[0] {
		t.Errorf("both are %x", a.sums)
	}
}

func TestRangesTileTheKeys(t *testing.T) {
	for bits := range maxBits + 1 {
		s := NewSums([32]byte{}, perRange<<bits)
		if len(s.sums) != 1<<bits {
			t.Fatalf("%d ranges, want %d", len(s.sums), 1<<bits)
		}
		next := new(big.Int) // the segment that the next range begins with
		for i := range s.sums {
			after, upto := s.Bounds(i)
			if want := (datamesh.ShardKey{Segment: segment(next), Index: -1}); after != want {
				t.Errorf("range %d of %d begins after %v, want %v", i, len(s.sums), after, want)
			}
			if upto.Index < datamesh.MaxShards-1 {
				t.Errorf("range %d of %d ends within a segment: %v", i, len(s.sums), upto)
			}
			next.Add(new(big.Int).SetBytes(upto.Segment[:]), big.NewInt(1))
		}
		if want := new(big.Int).Lsh(big.NewInt(1), 256); next.Cmp(want) != 0 {
			t.Errorf("the last of %d ranges ends with %x, want %x", len(s.sums), next, want)
		}
	}
}

// segment returns the id that is a number.
func segment(n *big.Int) (id datamesh.SegmentID) {
	n.FillBytes(id[:])
	return id
}

func TestRangesHaveAboutTheSameOfShards(t *testing.T) {
	for n := 0; n < 1<<20; n += 1 + n/1000 {
		switch ranges := len(NewSums([32]byte{}, n).sums); {
		case ranges == 1 && n <= perRange:
		case ranges == 1<<maxBits && n >= perRange<<maxBits:
		case n/ranges < perRange/2 || n/ranges > perRange:
			t.Fatalf("%d shards have %d ranges", n, ranges)
		}
	}
	if got := len(NewSums([32]byte{}, 1<<40).sums); got != 1<<maxBits {
		t.Errorf("very many shards have %d ranges, want %d", got, 1<<maxBits)
	}
}

// onDisk is a registrar of everything that is asked of it.
type onDisk struct{ *store.Disk }

func (r onDisk) Report(ctx context.Context, _ datamesh.PeerID, reports []store.Report) error {
	return r.Disk.Report(ctx, reports)
}

func (r onDisk) Compare(ctx context.Context, from datamesh.PeerID, theirs Sums) ([]int, error) {
	list, err := r.Reported(ctx, from, datamesh.First, 1<<20)
	ours := theirs.Like()
	for i := range list {
		ours.Add(list[i].Key())
	}
	return ours.Differ(theirs), err
}

func (r onDisk) Holds(ctx context.Context, from datamesh.PeerID, x Range) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	return r.Correct(ctx, from, x.After, x.Upto, x.Keys)
}

func (r onDisk) Words(context.Context, datamesh.PeerID, Words) ([]datamesh.SegmentID, []*datamesh.Deletion, error) {
	return nil, nil, nil
}

// Owned asks no signature of anybody.
func (r onDisk) Owned(ctx context.Context, _ datamesh.PeerID, ask OwnedAsk, limit int) ([]*datamesh.Descriptor, datamesh.SegmentID, bool, error) {
	return r.Disk.Owned(ctx, ask.Owner, ask.After, limit)
}

func (r onDisk) PutRecord(ctx context.Context, _ datamesh.PeerID, x *datamesh.Record) error {
	return r.Disk.PutRecord(ctx, x)
}

// Records yields those of the disk.
func (r onDisk) Records(ctx context.Context, after datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	last := datamesh.RecordKey{Place: after.Place, Seq: math.MaxUint64}
	last.Device = [16]byte(bytes.Repeat([]byte{0xff}, 16))
	return r.between(ctx, after, last)
}

// between yields the records greater than after, and not greater than upto.
func (r onDisk) between(ctx context.Context, after, upto datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	return func(yield func(*datamesh.Record, error) bool) {
		keys, err := r.RecordKeys(ctx, after, math.MaxInt32)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, key := range keys {
			if key.Compare(upto) > 0 || !yield(r.Record(ctx, key)) {
				return
			}
		}
	}
}

func (r onDisk) CompareRecords(ctx context.Context, _ datamesh.PeerID, l RecordList) (wanted []datamesh.RecordKey, missing iter.Seq2[*datamesh.Record, error], err error) {
	has, err := r.HasRecords(ctx, l.Keys)
	for i, key := range l.Keys {
		if err == nil && !has[i] {
			wanted = append(wanted, key)
		}
	}
	return wanted, func(yield func(*datamesh.Record, error) bool) {
		for x, err := range r.between(ctx, l.After, l.Upto) {
			if l.Between && !slices.Contains(l.Keys, format.RecordKey(x)) && !yield(x, err) {
				return
			}
		}
	}, err
}

// A holder tells a registrar what it holds.
type holder struct {
	c         *Client
	registrar datamesh.PeerID
	nonce     [32]byte
	keys      map[datamesh.ShardKey]bool
}

// compare returns the ranges in which the registrar knows otherwise.
func (h *holder) compare(t *testing.T) (Sums, []int) {
	t.Helper()
	h.nonce[0]++
	s := sumsOf(h.nonce, 16*perRange, slices.Collect(maps.Keys(h.keys))...)
	differ, err := h.c.Compare(t.Context(), h.registrar, s)
	if err != nil {
		t.Fatal(err)
	}
	return s, differ
}

// tell tells of all ranges in which they differ, and returns those.
func (h *holder) tell(t *testing.T) (differ []int, unknown, deleted []datamesh.SegmentID) {
	t.Helper()
	s, differ := h.compare(t)
	for _, i := range differ {
		after, upto := s.Bounds(i)
		r := Range{After: after, Upto: upto}
		for k := range h.keys {
			if rangeOf(t, s, k) == i {
				r.Keys = append(r.Keys, k)
			}
		}
		slices.SortFunc(r.Keys, datamesh.ShardKey.Compare)
		more, dels, err := h.c.Holds(t.Context(), h.registrar, r)
		if err != nil {
			t.Fatal(err)
		}
		unknown = append(unknown, more...)
		for _, del := range dels {
			deleted = append(deleted, del.Descriptor.Segment)
		}
	}
	return differ, unknown, deleted
}

// testTelling has a holder over real connections, whose registrar drops what
// drop is called with.
func testTelling(t *testing.T, registrar Registry, drop func(*datamesh.Deletion) error) {
	p := newPair(t)
	h := &holder{c: p.dialServer(t, store.NewMemory(0), registrar), registrar: p.member.ID(), keys: map[datamesh.ShardKey]bool{}}
	var samples []*storetest.Sample
	var all []datamesh.SegmentID
	for seed := range uint64(40) {
		s := storetest.Segment(t, seed, 2, 2, 100)
		samples, all = append(samples, s), append(all, s.Descriptor.Segment)
		h.keys[s.Key(0)], h.keys[s.Key(3)] = true, true
	}
	byID := func(a, b datamesh.SegmentID) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(all, byID)
	want := func(what string, s *storetest.Sample, want ...int) {
		t.Helper()
		_, holdings, err := h.c.Locate(t.Context(), h.registrar, s.Segment)
		var got []int
		for _, x := range holdings {
			if got = append(got, x.Index); x.Peer != p.client.ID() {
				t.Errorf("%s: a holding of %s", what, x.Peer)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, held are, -want +got:\n%s", what, err, diff)
		}
	}
	agree := func(when string) {
		t.Helper()
		if _, differ := h.compare(t); len(differ) > 0 {
			t.Errorf("%s ranges %v differ", when, differ)
		}
	}

	differ, unknown, deleted := h.tell(t)
	if diff := cmp.Diff(all, unknown); diff != "" || len(differ) < 2 || len(deleted) > 0 {
		t.Errorf("of %v ranges that differ deleted are %v, unknown, -want +got:\n%s", differ, deleted, diff)
	}
	var reports []store.Report
	for _, s := range samples {
		reports = append(reports, store.Report{Descriptor: s.Descriptor,
			Holdings: []store.Holding{{Index: 0, Peer: p.client.ID()}, {Index: 3, Peer: p.client.ID()}}})
	}
	if err := h.c.Report(t.Context(), h.registrar, reports); err != nil {
		t.Fatal(err)
	}
	agree("after the report")

	delete(h.keys, samples[5].Key(0))
	h.keys[samples[5].Key(2)] = true
	differ, unknown, deleted = h.tell(t)
	if len(differ) != 1 || len(unknown)+len(deleted) > 0 {
		t.Errorf("one has changed: %v differ, unknown are %v, deleted %v", differ, unknown, deleted)
	}
	want("one that has changed", samples[5], 2, 3)
	want("another", samples[6], 0, 3)
	agree("after a change")

	if err := drop(samples[7].Deletion(1)); err != nil {
		t.Fatal(err)
	}
	differ, unknown, deleted = h.tell(t)
	if len(differ) != 1 || len(unknown) > 0 || !slices.Equal(deleted, []datamesh.SegmentID{samples[7].Descriptor.Segment}) {
		t.Errorf("one was deleted: %v differ, unknown are %v, deleted %v", differ, unknown, deleted)
	}
	delete(h.keys, samples[7].Key(0))
	delete(h.keys, samples[7].Key(3))
	agree("after a drop")

	clear(h.keys)
	h.tell(t)
	agree("when nothing is left")
}

func TestRegistrarInMemoryIsToldWhatAPeerHolds(t *testing.T) {
	r := newRegistry()
	testTelling(t, r, func(del *datamesh.Deletion) error { r.drop(del); return nil })
}

func TestRegistrarOnDiskIsToldWhatAPeerHolds(t *testing.T) {
	disk, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	testTelling(t, onDisk{disk}, func(del *datamesh.Deletion) error { return disk.Drop(t.Context(), del) })
}

// dialRegistry returns a client of a registry.
func dialRegistry(t *testing.T, r Registry) *Client {
	server := NewServer(datamesh.PeerID{}, store.NewMemory(0), nil, r)
	return dial(t, func(from datamesh.PeerID, s mesh.Stream) { server.Handle(t.Context(), from, s) })
}

// Deletions are as large as their descriptors, and what does not fit into an
// answer comes with a later one.
func TestManyLargeDeletionsComeOneAnswerAfterTheOther(t *testing.T) {
	registry := newRegistry()
	h := &holder{c: dialRegistry(t, registry), keys: map[datamesh.ShardKey]bool{}}
	for seed := range uint64(100) {
		s := storetest.Segment(t, seed, 200, 56, 200)
		registry.drop(s.Deletion(1 << 60))
		h.keys[s.Key(1)], h.keys[s.Key(255)] = true, true
	}
	random := rand.New(rand.NewPCG(1, 0))
	for range MaxRange - len(h.keys) {
		h.keys[someKey(random)] = true // unknown
	}
	rounds := 0
	for ; len(registry.deleted) > 0; rounds++ {
		r := Range{After: datamesh.First, Upto: datamesh.ShardKey{Segment: last, Index: datamesh.MaxShards},
			Keys: slices.SortedFunc(maps.Keys(h.keys), datamesh.ShardKey.Compare)}
		unknown, deleted, err := h.c.Holds(t.Context(), anybody, r)
		if err != nil || len(unknown) != MaxRange-200 || len(deleted) == 0 {
			t.Fatalf("%d unknown, %d deleted, %v", len(unknown), len(deleted), err)
		}
		for _, del := range deleted {
			delete(registry.deleted, del.Descriptor.Segment)
			delete(h.keys, datamesh.ShardKey{Segment: del.Descriptor.Segment, Index: 1})
			delete(h.keys, datamesh.ShardKey{Segment: del.Descriptor.Segment, Index: 255})
		}
	}
	if rounds < 2 {
		t.Error("all came in one answer")
	}
}

// last is the last segment there could be.
var last = datamesh.SegmentID(bytes.Repeat([]byte{0xff}, 32))

func TestLargestInventoryFitsIntoItsMessages(t *testing.T) {
	c := dialRegistry(t, newRegistry())
	s := NewSums([32]byte{1}, 1<<40)
	for i := range s.sums {
		s.sums[i] = 1<<64 - 1
	}
	differ, err := c.Compare(t.Context(), anybody, s)
	if err != nil || len(differ) != 1<<maxBits {
		t.Errorf("compare: %d ranges, %v, want %d", len(differ), err, 1<<maxBits)
	}
	r := Range{After: datamesh.ShardKey{Segment: last, Index: datamesh.MaxShards}, Upto: datamesh.ShardKey{Segment: last, Index: datamesh.MaxShards}}
	for i := range MaxRange {
		k := datamesh.ShardKey{Segment: last, Index: datamesh.MaxShards - 1}
		binary.BigEndian.PutUint32(k.Segment[28:], uint32(i))
		r.Keys = append(r.Keys, k)
	}
	unknown, deleted, err := c.Holds(t.Context(), anybody, r)
	if err != nil || len(unknown) != MaxRange || len(deleted) > 0 {
		t.Errorf("holds: %d unknown, %d deleted, %v, want %d and none", len(unknown), len(deleted), err, MaxRange)
	}
	r.Keys = append(r.Keys, r.Upto)
	_, _, err = c.Holds(t.Context(), anybody, r)
	wantKind(t, "holds of one more", err, errs.Invalid)
}

func TestCompareBelievesNothing(t *testing.T) {
	s := NewSums([32]byte{1}, 4*perRange)
	for what, differ := range map[string][]int{
		"ranges out of order": {1, 0},
		"a range twice":       {1, 1},
		"a range below 0":     {-1},
		"a range beyond":      {0, 4},
		"a range far beyond":  {1 << 62},
	} {
		_, err := lie(t, say(response{Differ: differ}, nil)).Compare(t.Context(), anybody, s)
		wantKind(t, what, err, errs.Serialization)
	}
	_, err := lie(t, say(response{Kind: uint8(errs.Unavailable), Text: "still starting"}, nil)).Compare(t.Context(), anybody, s)
	wantKind(t, "an error", err, errs.Unavailable)
}

func TestHoldsBelievesNothing(t *testing.T) {
	mine, other := storetest.Segment(t, 1, 2, 1, 10), storetest.Segment(t, 2, 2, 1, 10)
	forged := mine.Deletion(1)
	forged.Generation++
	word := format.EncodeDeletion(mine.Deletion(1))
	id := mine.Descriptor.Segment
	for what, tt := range map[string]struct {
		resp response
		want errs.Kind
	}{
		"a deletion that is not signed":         {response{Deleted: [][]byte{format.EncodeDeletion(forged)}}, errs.Authentication},
		"a deletion that is none":               {response{Deleted: [][]byte{{1}}}, errs.Serialization},
		"an empty deletion":                     {response{Deleted: [][]byte{{}}}, errs.Serialization},
		"a deletion of another segment":         {response{Deleted: [][]byte{format.EncodeDeletion(other.Deletion(1))}}, errs.Serialization},
		"a deletion twice":                      {response{Deleted: [][]byte{word, word}}, errs.Serialization},
		"another segment that is unknown":       {response{Unknown: []datamesh.SegmentID{other.Descriptor.Segment}}, errs.Serialization},
		"a segment twice":                       {response{Unknown: []datamesh.SegmentID{id, id}}, errs.Serialization},
		"a segment that is unknown and deleted": {response{Unknown: []datamesh.SegmentID{id}, Deleted: [][]byte{word}}, errs.Serialization},
		"an error":                              {response{Kind: uint8(errs.Full), Text: "no room"}, errs.Full},
		"a shard behind the answer":             {response{Length: 5}, errs.Serialization},
		"a word on the way, which there is not": {response{More: true}, errs.Serialization},
	} {
		_, _, err := lie(t, say(tt.resp, nil)).Holds(t.Context(), anybody, Range{After: datamesh.First, Upto: mine.Key(2), Keys: mine.Keys()})
		wantKind(t, what, err, tt.want)
	}
}

func (onDisk) Spare(datamesh.PeerID, datamesh.ShardKey) {}

func (onDisk) Pledge(context.Context, datamesh.PeerID, datamesh.ShardKey) error { return nil }

func (r onDisk) Proofs(ctx context.Context, segments []datamesh.SegmentID) ([]store.Proof, error) {
	return r.Disk.Proofs(ctx, segments)
}

func (r onDisk) Receipts(ctx context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error) {
	return r.Disk.Receipts(ctx, segment)
}

func TestSpareAndPledgeReachTheRegistry(t *testing.T) {
	r := newRegistry()
	p := newPair(t)
	c := p.dialServer(t, store.NewMemory(1<<20), r)
	key := datamesh.ShardKey{Segment: datamesh.SegmentID{1}, Index: 3}
	if err := c.Spare(t.Context(), p.member.ID(), key); err != nil {
		t.Error(err)
	}
	if err := c.Pledge(t.Context(), p.member.ID(), key); err != nil {
		t.Error(err)
	}
	if want := []datamesh.ShardKey{key}; !slices.Equal(r.spare, want) || !slices.Equal(r.pledged, want) {
		t.Errorf("spare %v, pledged %v, want %v", r.spare, r.pledged, want)
	}
	r.answer(errs.New(errs.Unavailable, "it is about to go"))
	wantKind(t, "pledge", c.Pledge(t.Context(), p.member.ID(), key), errs.Unavailable)
	for _, keys := range [][]datamesh.ShardKey{nil, {key, key}} {
		for _, op := range []uint64{opSpare, opPledge} {
			_, _, err := c.call(t.Context(), p.member.ID(), request{Op: op, Keys: wireKeys(keys)}, exchange{silence: getSilence})
			wantKind(t, "a request of other than one shard", err, errs.Invalid)
		}
	}
}
