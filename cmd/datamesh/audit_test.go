package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func TestAuditSaysWhatWasShown(t *testing.T) {
	now := time.Unix(1e9, 0).UTC()
	failed := node.Audited{Shards: 5, Proofs: 3, Silences: 1, LastProof: now.Add(-90 * time.Second),
		Failures: []node.UnprovenShard{{Segment: datamesh.SegmentID{1}, Index: 2, Reason: "rotten"}}}
	for _, tt := range []struct {
		a          node.Audited
		kind       errs.Kind
		text, json string
	}{
		{node.Audited{Shards: 2, Proofs: 2, Failures: []node.UnprovenShard{}}, errs.Other, `shards               2
proofs               2
failures             0
silences             0
last proof before    none since the node started
last failure before  none since the node started
`, `{"peer_id":"12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw","shards":2,"proofs":2,"failures":[],"silences":0}
`},
		{node.Audited{Shards: 2, Silences: 2, Failures: []node.UnprovenShard{}}, errs.Unavailable, "", ""},
		{node.Audited{Shards: 2, Proofs: 1, Silences: 1}, errs.Other, "", ""},
		{node.Audited{}, errs.Other, "", ""},
		{failed, errs.Degraded, `shards               5
proofs               3
failures             1
silences             1
last proof before    1m30s ago
last failure before  none since the node started

SHARD                                                               REASON
dmseg1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqk4t9rw/2  rotten
`, ""},
	} {
		if err := auditVerdict(&tt.a); errs.KindOf(err) != tt.kind || err != nil && errs.HintFor(err) == "" {
			t.Errorf("%+v: got %v, want %s and a hint", tt.a, err, tt.kind.Name())
		}
		if tt.text != "" {
			var b bytes.Buffer
			w := newTable(&b)
			auditText(w, &tt.a, now)
			w.Flush()
			if diff := cmp.Diff(tt.text, b.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		}
		if tt.json != "" {
			var b bytes.Buffer
			if err := writeJSON(&b, &tt.a); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.json, b.String()); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		}
	}
}
