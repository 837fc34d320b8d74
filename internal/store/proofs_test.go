package store

import (
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func wantProofs(t *testing.T, d *Disk, s *storetest.Sample, want ...Proof) {
	t.Helper()
	got, err := d.Proofs(t.Context(), []datamesh.SegmentID{s.Descriptor.Segment})
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%v, proofs, -want +got:\n%s", err, diff)
	}
}

// A proof is kept while its peer is a holder, even if that is reported again.
func TestProofsAreThoseOfHolders(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 4, 2, 4*small)
	proof := func(index int, n byte, at int64) Proof {
		return Proof{s.Key(index), peer(n), time.Unix(at, 0)}
	}
	proven := func(p ...Proof) {
		t.Helper()
		if err := d.Proven(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	proven(proof(0, 1, 5)) // of a segment that is not known
	report(t, d, s, Holding{0, peer(1)}, Holding{0, peer(2)}, Holding{3, peer(1)})
	wantProofs(t, d, s)
	proven(proof(0, 1, 10), proof(0, 2, 11), proof(3, 1, 12), proof(4, 1, 13))
	proven(proof(0, 1, 20))
	report(t, d, s, Holding{0, peer(1)})
	closeDisk(t, d)
	d = openDisk(t, dir, Options{})
	wantProofs(t, d, s, proof(0, 1, 20), proof(0, 2, 11), proof(3, 1, 12))

	key := s.Key(0)
	if _, _, err := d.Correct(t.Context(), peer(1), datamesh.ShardKey{Segment: key.Segment, Index: -1}, key, nil); err != nil {
		t.Fatal(err)
	}
	wantProofs(t, d, s, proof(0, 2, 11), proof(3, 1, 12))
	report(t, d, s, Holding{0, peer(1)})
	wantProofs(t, d, s, proof(0, 2, 11), proof(3, 1, 12)) // it is proven anew or not at all
	if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
		t.Fatal(err)
	}
	wantProofs(t, d, s)
}
