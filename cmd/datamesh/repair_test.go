package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func TestRepairPrintsWhatWasDone(t *testing.T) {
	done := &node.Repaired{Segments: 120, Waiting: 4, Repaired: 2, Unrepaired: 1, Shards: 3, Bytes: 3 << 20,
		Placed: []node.PlacedShard{
			{Segment: datamesh.SegmentID{1}, Index: 5, Peer: datamesh.PeerID{7}, Bytes: 1 << 20, Cause: "missing"},
			{Segment: datamesh.SegmentID{2}, Index: 0, Peer: datamesh.PeerID{8}, Bytes: 2 << 20, Cause: "spread"}},
		Weak: []node.WeakSegment{{Segment: datamesh.SegmentID{3}, Reason: "3 of its 6 shards are there, and it takes 4"}}}
	planned := *done
	planned.DryRun = true
	nothing := &node.Repaired{Segments: 1, Placed: []node.PlacedShard{}, Weak: []node.WeakSegment{}}
	for name, json := range map[string]bool{"testdata/repair.json": true, "testdata/repair.text": false} {
		var out, notes bytes.Buffer
		c := &cli{out: &out, err: &notes, json: json}
		for _, r := range []*node.Repaired{done, &planned, nothing} {
			if err := c.printRepaired(r); (errs.KindOf(err) == errs.Degraded) != (r.Unrepaired > 0) {
				t.Errorf("%+v ends with %v", r, err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), out.String()+notes.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
