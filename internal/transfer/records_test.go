package transfer

import (
	"bytes"
	"crypto/ed25519"
	"math"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// recordOf makes a record of an owner, who has a byte for a name.
func recordOf(t testing.TB, owner byte, seq uint64) *datamesh.Record {
	t.Helper()
	return sizedRecord(t, owner, 7, seq, 100)
}

func sizedRecord(t testing.TB, owner, device byte, seq uint64, n int) *datamesh.Record {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{owner}, ed25519.SeedSize))
	r, err := format.NewRecord(key, datamesh.MeshID{1}, [16]byte{device}, seq, 0, bytes.Repeat([]byte{byte(seq)}, n))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keysOf(records ...*datamesh.Record) (keys []recordKey) {
	for _, r := range records {
		keys = append(keys, wireRecordKeys([]datamesh.RecordKey{format.RecordKey(r)})...)
	}
	return keys
}

func byKey(a, b *datamesh.Record) int { return format.RecordKey(a).Compare(format.RecordKey(b)) }

// dialRecords returns a client of a registry that keeps records on a disk, and
// that disk.
func dialRecords(t *testing.T) (*Client, *store.Disk) {
	t.Helper()
	disk, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	return dialRegistry(t, onDisk{disk}), disk
}

// All records of an owner come, large and small, in however many answers, and
// none of another's.
func TestRecordsArePutAndRead(t *testing.T) {
	c, _ := dialRecords(t)
	var want []*datamesh.Record
	for i := range 300 {
		n := 40
		if i%10 == 0 {
			n = datamesh.MaxRecordPayload
		}
		want = append(want, sizedRecord(t, 1, byte(i%5), uint64(1+i), n))
		if err := c.PutRecord(t.Context(), anybody, want[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, owner := range []byte{2, 3} { // one on either side, as likely as not
		if err := c.PutRecord(t.Context(), anybody, recordOf(t, owner, 1)); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(want, byKey)
	got, err := c.Records(t.Context(), anybody, want[0].Owner)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%.2000s", err, diff)
	}
	if got, err := c.Records(t.Context(), anybody, datamesh.OwnerKey{9}); err != nil || len(got) > 0 {
		t.Errorf("of an owner of whom there is nothing: %v, %v", got, err)
	}
}

// What is wrong with a put reaches whoever made it.
func TestPutRecordTellsWhatIsWrong(t *testing.T) {
	c, disk := dialRecords(t)
	put := func(what string, want errs.Kind, r *datamesh.Record) {
		t.Helper()
		wantKind(t, what, c.PutRecord(t.Context(), anybody, r), want)
	}
	a := recordOf(t, 1, 5)
	if err := c.PutRecord(t.Context(), anybody, a); err != nil {
		t.Fatal(err)
	}
	other := sizedRecord(t, 1, 7, 5, 99)
	put("another of that number", errs.Exists, other)
	for what, change := range map[string]func(*datamesh.Record){
		"another's signature": func(r *datamesh.Record) { r.Signature = other.Signature },
		"another payload":     func(r *datamesh.Record) { r.Payload = []byte("forged") },
		"another owner":       func(r *datamesh.Record) { r.Owner = recordOf(t, 2, 1).Owner },
		"another mesh":        func(r *datamesh.Record) { r.Mesh[0]++ },
	} {
		r := *a
		change(&r)
		put(what, errs.Authentication, &r)
	}
	for what, change := range map[string]func(*datamesh.Record){
		"an oversized one":  func(r *datamesh.Record) { r.Payload = make([]byte, datamesh.MaxRecordPayload+1) },
		"an empty one":      func(r *datamesh.Record) { r.Payload = nil },
		"one of no number":  func(r *datamesh.Record) { r.Seq = 0 },
		"one of some MiB":   func(r *datamesh.Record) { r.Payload = make([]byte, maxHeader-1000) },
		"one before itself": func(r *datamesh.Record) { r.Base = r.Seq },
	} {
		r := *a
		change(&r)
		put(what, errs.Serialization, &r)
	}
	if keys, err := disk.RecordKeys(t.Context(), datamesh.RecordKey{}, 10); err != nil || len(keys) != 2 {
		t.Errorf("%d records are kept, %v, want 2", len(keys), err)
	}
}

// Who has no others than those that the client knows does not send them again,
// and whoever has says which.
func TestKnownRecordsAreNotSentAgain(t *testing.T) {
	c, _ := dialRecords(t)
	var want []*datamesh.Record
	read := func(what string) {
		t.Helper()
		got, err := c.Records(t.Context(), anybody, recordOf(t, 1, 1).Owner)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", what, err, diff)
		}
	}
	ask := func(digest [32]byte) *response {
		t.Helper()
		req := request{Op: opRecords, RecordKeys: wireRecordKeys([]datamesh.RecordKey{{Place: format.RecordPlace(recordOf(t, 1, 1).Owner)}}), Digest: digest[:]}
		resp, _, err := c.call(t.Context(), anybody, req, exchange{silence: getSilence})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for seq := uint64(1); seq < 4; seq++ {
		want = append(want, recordOf(t, 1, seq))
		if err := c.PutRecord(t.Context(), anybody, want[len(want)-1]); err != nil {
			t.Fatal(err)
		}
		read("with one more")
		read("again")
		if resp := ask(digestOf(want)); len(resp.Records) != 0 || !slices.Equal(resp.Has, []bool{true}) {
			t.Errorf("%d records came, has %v, want none, and that they are the same", len(resp.Records), resp.Has)
		}
		if resp := ask(digestOf(want[1:])); len(resp.Records) != len(want) || len(resp.Has) != 0 {
			t.Errorf("%d records came, has %v, want all %d", len(resp.Records), resp.Has, len(want))
		}
	}
}

// Only a few peers' records are known at a time.
func TestFewRecordsAreKnown(t *testing.T) {
	var k knownRecords
	for i := range byte(3 * maxKnown) {
		at := recordsAt{peer: datamesh.PeerID{i}}
		k.put(at, []*datamesh.Record{recordOf(t, 1, uint64(1+i))})
		if _, ok := k.get(at); !ok || len(k.of) > maxKnown {
			t.Fatalf("known: %v, of %d peers", ok, len(k.of))
		}
	}
}

// What is no record of the owner is left out of an answer, and the rest is
// taken, of this answer and of those that follow.
func TestRecordsBelieveNothing(t *testing.T) {
	a, b, c := recordOf(t, 1, 1), recordOf(t, 1, 2), recordOf(t, 1, 3)
	forged := *b
	forged.Payload = []byte("forged")
	large := *b
	large.Payload = make([]byte, datamesh.MaxRecordPayload+1)
	enc := func(all ...*datamesh.Record) (list [][]byte) {
		for _, r := range all {
			list = append(list, format.EncodeRecord(r))
		}
		return list
	}
	for _, tt := range []struct {
		what  string
		pages [][][]byte
		want  []*datamesh.Record
		kind  errs.Kind
	}{
		{"good ones", [][][]byte{enc(a, b), enc(c)}, []*datamesh.Record{a, b, c}, errs.Other},
		{"a forged one between", [][][]byte{enc(a, &forged, c)}, []*datamesh.Record{a, c}, errs.Other},
		{"an oversized one between", [][][]byte{enc(a, &large), enc(c)}, []*datamesh.Record{a, c}, errs.Other},
		{"another owner's", [][][]byte{enc(a, recordOf(t, 2, 1)), enc(b)}, []*datamesh.Record{a, b}, errs.Other},
		{"no record at all", [][][]byte{append(enc(a), []byte("none"))}, []*datamesh.Record{a}, errs.Other},
		{"forged ones alone, and for ever", [][][]byte{enc(&forged), enc(&forged), enc(&forged)}, nil, errs.Other},
		{"the same again", [][][]byte{enc(a), enc(a)}, []*datamesh.Record{a}, errs.Serialization},
		{"in another order", [][][]byte{enc(b, a)}, []*datamesh.Record{b}, errs.Serialization},
		{"the same twice", [][][]byte{enc(a, a)}, []*datamesh.Record{a}, errs.Serialization},
		{"many that are none", [][][]byte{append(enc(a), make([][]byte, 200_000)...)}, []*datamesh.Record{a}, errs.Serialization},
	} {
		asked := 0
		got, err := lie(t, func(s mesh.Stream, req request) {
			var resp response
			if asked < len(tt.pages) {
				resp.Records = tt.pages[asked]
			}
			asked++
			tell(s, resp, nil)
		}).Records(t.Context(), anybody, a.Owner)
		wantKind(t, tt.what, err, tt.kind)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.what, diff)
		}
	}
}

// Whoever sends more than is kept of an owner is not listened to for ever, even
// if it is the owner himself who has signed all that.
func TestRecordsEnd(t *testing.T) {
	asked := 0
	_, err := lie(t, func(s mesh.Stream, req request) {
		var resp response
		for range 7 {
			asked++
			resp.Records = append(resp.Records, format.EncodeRecord(sizedRecord(t, 1, 1, uint64(asked), datamesh.MaxRecordPayload)))
		}
		tell(s, resp, nil)
	}).Records(t.Context(), anybody, recordOf(t, 1, 1).Owner)
	wantKind(t, "records without end", err, errs.Serialization)
	if bytes := asked * datamesh.MaxRecordPayload; bytes > maxRecordBytes+maxHeader {
		t.Errorf("%d bytes were taken", bytes)
	}
}

// Each side learns which records the other has.
func TestRecordsAreCompared(t *testing.T) {
	c, disk := dialRecords(t)
	var all []*datamesh.Record
	for i := range 8 {
		all = append(all, recordOf(t, byte(1+i/2), uint64(1+i)))
	}
	slices.SortFunc(all, byKey)
	for i, r := range all {
		if i%2 == 0 {
			if err := disk.PutRecord(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := func(i int) datamesh.RecordKey { return format.RecordKey(all[i]) }
	end := datamesh.RecordKey{Place: [32]byte(bytes.Repeat([]byte{0xff}, 32)), Seq: math.MaxUint64}
	for _, tt := range []struct {
		what           string
		list           RecordList
		wanted, others []int
	}{
		{"of a list", RecordList{Keys: []datamesh.RecordKey{key(0), key(1), key(3)}}, []int{1, 3}, nil},
		{"of all", RecordList{Keys: []datamesh.RecordKey{key(0), key(1), key(3)}, Between: true, Upto: end}, []int{1, 3}, []int{2, 4, 6}},
		{"up to one", RecordList{Between: true, Upto: key(4)}, nil, []int{0, 2, 4}},
		{"after one", RecordList{Between: true, After: key(2), Upto: end}, nil, []int{4, 6}},
		{"of nothing", RecordList{}, nil, nil},
	} {
		wanted, others, err := c.CompareRecords(t.Context(), anybody, tt.list)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
		}
		at := func(k datamesh.RecordKey) int {
			return slices.IndexFunc(all, func(r *datamesh.Record) bool { return format.RecordKey(r) == k })
		}
		var gotWanted, gotOthers []int
		for _, k := range wanted {
			gotWanted = append(gotWanted, at(k))
		}
		for _, r := range others {
			gotOthers = append(gotOthers, at(format.RecordKey(r)))
		}
		if diff := cmp.Diff(tt.wanted, gotWanted, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: wanted, -want +got:\n%s", tt.what, diff)
		}
		if diff := cmp.Diff(tt.others, gotOthers, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: others, -want +got:\n%s", tt.what, diff)
		}
	}
}

// The longest list fits, as does the answer that wants all of it.
func TestLongestListOfRecordsFits(t *testing.T) {
	c, disk := dialRecords(t)
	if err := disk.PutRecord(t.Context(), sizedRecord(t, 1, 1, 1, datamesh.MaxRecordPayload)); err != nil {
		t.Fatal(err)
	}
	l := RecordList{Between: true, Upto: datamesh.RecordKey{Place: [32]byte(bytes.Repeat([]byte{0xff}, 32)), Seq: math.MaxUint64}}
	for i := range uint64(MaxRecordKeys) {
		l.Keys = append(l.Keys, datamesh.RecordKey{Place: [32]byte(bytes.Repeat([]byte{0xee}, 32)), Seq: math.MaxUint64 - MaxRecordKeys + i})
	}
	wanted, others, err := c.CompareRecords(t.Context(), anybody, l)
	if err != nil || len(wanted) != len(l.Keys) || len(others) != 1 {
		t.Errorf("%d are wanted of %d, %d others, %v", len(wanted), len(l.Keys), len(others), err)
	}
}

func TestRecordListsThatMakeNoSenseAreRefused(t *testing.T) {
	c, _ := dialRecords(t)
	a, b := datamesh.RecordKey{Seq: 1}, datamesh.RecordKey{Seq: 2}
	for what, keys := range map[string][]datamesh.RecordKey{
		"too many":     make([]datamesh.RecordKey, MaxRecordKeys+1),
		"not in order": {b, a},
		"one twice":    {a, a},
	} {
		_, _, err := c.CompareRecords(t.Context(), anybody, RecordList{Keys: keys})
		wantKind(t, what, err, errs.Invalid)
	}
	for what, req := range map[string]request{
		"a range of one end":      {Op: opCompareRecords, Ends: []recordKey{{}}},
		"records after no key":    {Op: opRecords},
		"records after two keys":  {Op: opRecords, RecordKeys: []recordKey{{}, {}}},
		"a range of three ends":   {Op: opCompareRecords, Ends: []recordKey{{}, {}, {}}},
		"nothing in place of one": {Op: opPutRecord},
	} {
		want := errs.Invalid
		if req.Op == opPutRecord {
			want = errs.Serialization
		}
		_, _, err := c.call(t.Context(), anybody, req, exchange{silence: inventorySilence})
		wantKind(t, what, err, want)
	}
}

// What a peer answers that was not asked is not taken for an answer.
func TestCompareRecordsBelievesNothing(t *testing.T) {
	all := []*datamesh.Record{recordOf(t, 1, 1), recordOf(t, 1, 2), recordOf(t, 1, 3), recordOf(t, 1, 4)}
	key := func(i int) datamesh.RecordKey { return format.RecordKey(all[i]) }
	l := RecordList{Keys: []datamesh.RecordKey{key(1)}, Between: true, Upto: key(2)}
	forged := *all[0]
	forged.Payload = []byte("forged")
	enc := func(r *datamesh.Record) [][]byte { return [][]byte{format.EncodeRecord(r)} }
	for _, tt := range []struct {
		what string
		resp response
		want errs.Kind
	}{
		{"one is wanted that was not listed", response{RecordKeys: keysOf(all[0])}, errs.Serialization},
		{"one is wanted twice", response{RecordKeys: keysOf(all[1], all[1])}, errs.Serialization},
		{"one that was listed", response{Records: enc(all[1])}, errs.Serialization},
		{"one from elsewhere", response{Records: enc(all[3])}, errs.Serialization},
		{"one twice", response{Records: slices.Concat(enc(all[0]), enc(all[0]))}, errs.Serialization},
		{"a forged one", response{Records: enc(&forged)}, errs.Authentication},
		{"none", response{Records: [][]byte{{1}}}, errs.Serialization},
	} {
		wanted, others, err := lie(t, say(tt.resp, nil)).CompareRecords(t.Context(), anybody, l)
		wantKind(t, tt.what, err, tt.want)
		if len(wanted)+len(others) > 0 {
			t.Errorf("%s: got %v, %v", tt.what, wanted, others)
		}
	}
	_, _, err := lie(t, say(response{Records: enc(all[0])}, nil)).CompareRecords(t.Context(), anybody, RecordList{Keys: l.Keys})
	wantKind(t, "one that was not asked for", err, errs.Serialization)
	wanted, others, err := lie(t, say(response{RecordKeys: keysOf(all[1]), Records: enc(all[0])}, nil)).CompareRecords(t.Context(), anybody, l)
	if err != nil || len(wanted) != 1 || len(others) != 1 {
		t.Errorf("a good answer: got %v, %v, %v", wanted, others, err)
	}
}

// Sums differ by records as they do by shards and words.
func TestSumsHaveRecords(t *testing.T) {
	a := NewSums([32]byte{1}, 1)
	k := format.RecordKey(recordOf(t, 1, 1))
	other := k
	other.Digest[0]++
	seen := map[uint64]bool{}
	for _, keys := range [][]datamesh.RecordKey{{}, {k}, {other}, {k, other}, {{Place: k.Place, Seq: 1}}, {{Place: k.Place, Seq: 2}}} {
		s := a.Like()
		for _, k := range keys {
			s.AddRecord(k)
		}
		if seen[s.sums[0]] {
			t.Errorf("that of %v is the same as another", keys)
		}
		seen[s.sums[0]] = true
		for _, k := range keys {
			s.AddRecord(k)
		}
		if s.sums[0] != 0 {
			t.Error("what was taken out again is in the sum")
		}
	}
}
