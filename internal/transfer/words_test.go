package transfer

import (
	"bytes"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

func bySegment(a, b *storetest.Sample) int { return bytes.Compare(a.Segment[:], b.Segment[:]) }

// ordered returns n samples in the order of their segments.
func ordered(t *testing.T, n int) (all []*storetest.Sample) {
	t.Helper()
	for seed := range uint64(n) {
		all = append(all, storetest.Segment(t, seed, 2, 1, 100))
	}
	slices.SortFunc(all, bySegment)
	return all
}

// Each side learns which words of the other are newer.
func TestWordsAreCompared(t *testing.T) {
	r := newRegistry()
	c := dialRegistry(t, r)
	s := ordered(t, 6)
	for i, generation := range []uint64{0, 1, 2, 3, 5, 1} {
		if generation > 0 {
			r.drop(s[i].Deletion(generation))
		}
	}
	list := []Word{{Segment: s[0].Segment, Generation: 1}, {Segment: s[1].Segment, Generation: 1}, {Segment: s[2].Segment}, {Segment: s[3].Segment, Generation: 4}}
	for _, tt := range []struct {
		what   string
		w      Words
		wanted []int
		newer  []int
	}{
		{"of a list", Words{List: list}, []int{0, 3}, []int{2}},
		{"of all", Words{List: list, Between: true, Last: s[5].Segment}, []int{0, 3}, []int{2, 4, 5}},
		{"up to one", Words{List: list, Between: true, Last: s[4].Segment}, []int{0, 3}, []int{2, 4}},
		{"from one", Words{Between: true, First: s[4].Segment, Last: s[5].Segment}, nil, []int{4, 5}},
		{"of nothing", Words{}, nil, nil},
	} {
		wanted, newer, err := c.Words(t.Context(), anybody, tt.w)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
		}
		at := func(segment datamesh.SegmentID) int {
			return slices.IndexFunc(s, func(x *storetest.Sample) bool { return x.Segment == segment })
		}
		var gotWanted, gotNewer []int
		for _, segment := range wanted {
			gotWanted = append(gotWanted, at(segment))
		}
		for _, del := range newer {
			gotNewer = append(gotNewer, at(del.Descriptor.Segment))
		}
		slices.Sort(gotNewer)
		if diff := cmp.Diff(tt.wanted, gotWanted); diff != "" {
			t.Errorf("%s: wanted, -want +got:\n%s", tt.what, diff)
		}
		if diff := cmp.Diff(tt.newer, gotNewer); diff != "" {
			t.Errorf("%s: newer, -want +got:\n%s", tt.what, diff)
		}
	}
}

// Of a list all newer words come, however many: whoever asks for an owner's last
// words must not take one that had no room for one that is not there.
func TestAllWordsOfAListCome(t *testing.T) {
	r := newRegistry()
	c := dialRegistry(t, r)
	var w Words
	for _, s := range ordered(t, 1500) {
		r.drop(s.Deletion(2))
		w.List = append(w.List, Word{Segment: s.Segment})
	}
	w.List[0].Generation, w.List[1].Generation = 3, 2
	wanted, newer, err := c.Words(t.Context(), anybody, w)
	if err != nil || len(wanted) != 1 || len(newer) != len(w.List)-2 {
		t.Errorf("%d are wanted and %d newer of %d, %v, want 1 and all but 2", len(wanted), len(newer), len(w.List), err)
	}
}

func TestWordsThatMakeNoSenseAreRefused(t *testing.T) {
	c := dialRegistry(t, newRegistry())
	s := ordered(t, 2)
	many := make([]Word, MaxWords+1)
	for what, w := range map[string][]Word{
		"too many":     many,
		"not in order": {{Segment: s[1].Segment, Generation: 1}, {Segment: s[0].Segment, Generation: 1}},
		"one twice":    {{Segment: s[0].Segment, Generation: 1}, {Segment: s[0].Segment, Generation: 1}},
	} {
		_, _, err := c.Words(t.Context(), anybody, Words{List: w})
		wantKind(t, what, err, errs.Invalid)
	}
	_, _, err := c.call(t.Context(), anybody, request{Op: opWords, Range: []key{{}}}, exchange{silence: inventorySilence})
	wantKind(t, "a range of one end", err, errs.Invalid)
}

// What a peer answers that was not asked is not taken for an answer.
func TestWordsBelieveNothing(t *testing.T) {
	s := ordered(t, 3)
	listed := Words{List: []Word{{Segment: s[0].Segment, Generation: 3}, {Segment: s[1].Segment}}, Between: true, Last: s[1].Segment}
	forged := s[1].Deletion(1)
	forged.Generation = 5
	word := func(del *datamesh.Deletion) [][]byte { return [][]byte{format.EncodeDeletion(del)} }
	for _, tt := range []struct {
		what string
		resp response
		want errs.Kind
	}{
		{"one that was not asked for is wanted", response{Unknown: []datamesh.SegmentID{s[2].Segment}}, errs.Serialization},
		{"one is wanted of which nothing is known", response{Unknown: []datamesh.SegmentID{s[1].Segment}}, errs.Serialization},
		{"one is wanted twice", response{Unknown: []datamesh.SegmentID{s[0].Segment, s[0].Segment}}, errs.Serialization},
		{"an older word", response{Deleted: word(s[0].Deletion(2))}, errs.Serialization},
		{"the same word", response{Deleted: word(s[0].Deletion(3))}, errs.Serialization},
		{"a word from elsewhere", response{Deleted: word(s[2].Deletion(1))}, errs.Serialization},
		{"a word twice", response{Deleted: slices.Concat(word(s[1].Deletion(1)), word(s[1].Deletion(2)))}, errs.Serialization},
		{"a forged word", response{Deleted: word(forged)}, errs.Authentication},
		{"no word", response{Deleted: [][]byte{{1}}}, errs.Serialization},
	} {
		wanted, newer, err := lie(t, say(tt.resp, nil)).Words(t.Context(), anybody, listed)
		wantKind(t, tt.what, err, tt.want)
		if len(wanted)+len(newer) > 0 {
			t.Errorf("%s: got %v, %v", tt.what, wanted, newer)
		}
	}
	_, newer, err := lie(t, say(response{Unknown: []datamesh.SegmentID{s[0].Segment}, Deleted: word(s[1].Deletion(1))}, nil)).Words(t.Context(), anybody, listed)
	if err != nil || len(newer) != 1 {
		t.Errorf("a good answer: got %v, %v", newer, err)
	}
}

// Sums differ by words as they do by shards, and by their generations.
func TestSumsHaveWords(t *testing.T) {
	a := NewSums([32]byte{1}, 1)
	sum := func(words ...Word) []uint64 {
		s := a.Like()
		s.Add(datamesh.ShardKey{Segment: datamesh.SegmentID{1}, Index: 7})
		for _, w := range words {
			s.AddWord(w)
		}
		return s.sums
	}
	segment := datamesh.SegmentID{1}
	seen := map[uint64]bool{}
	for _, s := range [][]uint64{sum(), sum(Word{Segment: segment, Generation: 7}), sum(Word{Segment: segment, Generation: 8}),
		sum(Word{Segment: segment, Generation: 7}, Word{Segment: datamesh.SegmentID{2}, Generation: 7})} {
		if seen[s[0]] {
			t.Error("two have the same sum")
		}
		seen[s[0]] = true
	}
	if x, y := sum(Word{Segment: segment, Generation: 7}, Word{Segment: datamesh.SegmentID{2}, Generation: 7}),
		sum(Word{Segment: datamesh.SegmentID{2}, Generation: 7}, Word{Segment: segment, Generation: 7}); x[0] != y[0] {
		t.Error("the order of the words changes their sum")
	}
}
