package transfer

import (
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"
)

// More proofs than one answer has room for come in several.
func TestProofsComeWithTheirAge(t *testing.T) {
	r := newRegistry()
	r.proofs = map[datamesh.SegmentID][]store.Proof{}
	p := newPair(t)
	c := p.dialServer(t, store.NewMemory(1<<20), r)
	var segments []datamesh.SegmentID
	want := map[datamesh.ShardKey]datamesh.PeerID{}
	now := time.Now()
	for i := range 2 * proofsAtOnce {
		segment := datamesh.SegmentID{1, byte(i), byte(i >> 8)}
		segments = append(segments, segment)
		for index := range i % 30 {
			key := datamesh.ShardKey{Segment: segment, Index: index}
			want[key] = datamesh.PeerID{byte(index)}
			r.proofs[segment] = append(r.proofs[segment], store.Proof{Key: key, Peer: want[key], At: now.Add(-time.Hour)})
		}
	}
	list, err := c.Proofs(t.Context(), p.member.ID(), segments)
	if err != nil || len(list) != len(want) {
		t.Fatalf("got %d, %v, want %d", len(list), err, len(want))
	}
	for _, x := range list {
		if age := now.Sub(x.At); want[x.Key] != x.Peer || (age-time.Hour).Abs() > time.Minute {
			t.Errorf("got %+v, %v ago", x, age)
		}
	}
	if none, err := c.Proofs(t.Context(), p.member.ID(), []datamesh.SegmentID{{2}}); err != nil || len(none) > 0 {
		t.Errorf("of a segment that is not known: got %v, %v", none, err)
	}
	for _, n := range []int{0, proofsAtOnce + 1} {
		req := request{Op: opProofs, Keys: wireKeys(slices.Repeat([]datamesh.ShardKey{{}}, n))}
		_, _, err := c.call(t.Context(), p.member.ID(), req, exchange{silence: getSilence})
		wantKind(t, "proofs of too many", err, errs.Invalid)
	}
	r.answer(errs.New(errs.Database, "the disk is gone"))
	_, err = c.Proofs(t.Context(), p.member.ID(), segments)
	wantKind(t, "proofs", err, errs.Database)
}

func TestProofsThatMakeNoSenseAreRefused(t *testing.T) {
	id := datamesh.SegmentID{1}
	for what, resp := range map[string]response{
		"no segment":             {},
		"too many segments":      {Has: []bool{true, true}},
		"of another segment":     {Has: []bool{true}, Proofs: []proof{{Segment: datamesh.SegmentID{2}}}},
		"of a negative index":    {Has: []bool{true}, Proofs: []proof{{Segment: id, Index: -1}}},
		"of an index too great":  {Has: []bool{true}, Proofs: []proof{{Segment: id, Index: datamesh.MaxShards}}},
		"of the time to come":    {Has: []bool{true}, Proofs: []proof{{Segment: id, Age: -1}}},
		"of a time before times": {Has: []bool{true}, Proofs: []proof{{Segment: id, Age: 1 << 40}}},
	} {
		_, err := lie(t, say(resp, nil)).Proofs(t.Context(), anybody, []datamesh.SegmentID{id})
		wantKind(t, what, err, errs.Serialization)
	}
}
