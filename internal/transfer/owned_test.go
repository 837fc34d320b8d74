package transfer

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// ofOwner makes a segment of the owner of receipts.
func ofOwner(t testing.TB, n uint32, shards int) *datamesh.Descriptor {
	t.Helper()
	ids := make([]datamesh.ShardID, shards)
	ids[0] = hash.Shard(binary.BigEndian.AppendUint32(nil, n))
	d, err := format.NewDescriptor(holderKey, 1, shards-1, 10, ids)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func inOrder(a, b *datamesh.Descriptor) int { return bytes.Compare(a.Segment[:], b.Segment[:]) }

// All of an owner come, in however many answers, large ones too.
func TestOwnedComesInPages(t *testing.T) {
	for _, tt := range []struct{ segments, shards, least, most int }{{700, 2, 2, 2}, {60, 256, 3, 4}} {
		c, disk := dialRecords(t)
		var want []datamesh.SegmentID
		for i := range tt.segments {
			d := ofOwner(t, uint32(i), tt.shards)
			report := store.Report{Descriptor: d, Holdings: []store.Holding{{Index: 1, Peer: anybody}}}
			if err := disk.Report(t.Context(), []store.Report{report}); err != nil {
				t.Fatal(err)
			}
			want = append(want, d.Segment)
		}
		slices.SortFunc(want, func(a, b datamesh.SegmentID) int { return bytes.Compare(a[:], b[:]) })
		ask, pages := OwnedAsk{Owner: datamesh.OwnerKey(holderKey.Public().(ed25519.PublicKey))}, 0
		var got []datamesh.SegmentID
		for more := true; more; pages++ {
			var list []*datamesh.Descriptor
			var err error
			if list, ask.After, more, err = c.Owned(t.Context(), anybody, ask); err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				got = append(got, d.Segment)
			}
		}
		if !slices.Equal(got, want) || pages < tt.least || pages > tt.most {
			t.Errorf("%d segments of %d shards in %d answers, want %d in %d to %d", len(got), tt.shards, pages, len(want), tt.least, tt.most)
		}
	}
}

// A member that lies invents no segment, and does not keep its client for ever.
func TestOwnedBelievesNothing(t *testing.T) {
	a, b := ofOwner(t, 1, 3), ofOwner(t, 2, 3)
	if inOrder(a, b) > 0 {
		a, b = b, a
	}
	forged := *b
	forged.Signature[0]++
	enc := func(all ...*datamesh.Descriptor) (list [][]byte) {
		for _, d := range all {
			list = append(list, format.EncodeDescriptor(d))
		}
		return list
	}
	before := a.Segment
	before[31]--
	after := datamesh.SegmentID{}
	ask := OwnedAsk{Owner: a.Owner, After: after}
	for what, tt := range map[string]struct {
		resp response
		want errs.Kind
	}{
		"another's":              {response{Owned: enc(storetest.Segment(t, 1, 2, 1, 10).Descriptor)}, errs.Authentication},
		"a forged one":           {response{Owned: enc(a, &forged)}, errs.Authentication},
		"none":                   {response{Owned: [][]byte{[]byte("x")}}, errs.Serialization},
		"out of order":           {response{Owned: enc(b, a)}, errs.Serialization},
		"one twice":              {response{Owned: enc(a, a)}, errs.Serialization},
		"too many":               {response{Owned: make([][]byte, maxOwned+1)}, errs.Serialization},
		"no segment to go on":    {response{Next: []byte{1}}, errs.Serialization},
		"the same to go on":      {response{Next: after[:]}, errs.Serialization},
		"one before to go on":    {response{Owned: enc(a), Next: before[:]}, errs.Serialization},
		"an error of the server": {failure(errs.New(errs.Unavailable, "busy")), errs.Unavailable},
	} {
		_, _, _, err := lie(t, say(tt.resp, nil)).Owned(t.Context(), anybody, ask)
		wantKind(t, what, err, tt.want)
	}
	list, next, more, err := lie(t, say(response{Owned: enc(a, b), Next: b.Segment[:]}, nil)).Owned(t.Context(), anybody, ask)
	if err != nil || len(list) != 2 || !more || next != b.Segment {
		t.Errorf("the truth: %v, %v, %v, %v", list, next, more, err)
	}
}

// What is asked in another form is refused before anything is looked up.
func TestOwnedIsAskedInOneForm(t *testing.T) {
	c, _ := dialRecords(t)
	good := request{Op: opOwned, Owner: make([]byte, 32), Signature: make([]byte, 64), Keys: []key{{}}}
	for what, change := range map[string]func(*request){
		"no owner":          func(r *request) { r.Owner = nil },
		"a long owner":      func(r *request) { r.Owner = make([]byte, 33) },
		"a short signature": func(r *request) { r.Signature = make([]byte, 63) },
		"no segment":        func(r *request) { r.Keys = nil },
		"two segments":      func(r *request) { r.Keys = make([]key, 2) },
	} {
		req := good
		change(&req)
		_, _, err := c.call(t.Context(), anybody, req, exchange{silence: inventorySilence})
		wantKind(t, what, err, errs.Invalid)
	}
	if _, _, err := c.call(t.Context(), anybody, good, exchange{silence: inventorySilence}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}
