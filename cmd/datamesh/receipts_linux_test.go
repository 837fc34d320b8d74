package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/node"
)

func TestReceiptsPrintWhoSignedForWhat(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	r := &node.Receipts{ID: datamesh.ObjectID{1}, Name: "file", Segments: 2, Refused: []node.RefusedReceipt{}, Receipts: []node.Receipt{
		{Segment: datamesh.SegmentID{2}, Index: 5, Shard: datamesh.ShardID{3}, Holder: datamesh.PeerID{4}, Placer: datamesh.PeerID{5}, Time: at, Member: true, Registrars: 6},
		{Segment: datamesh.SegmentID{3}, Index: 0, Shard: datamesh.ShardID{3}, Holder: datamesh.PeerID{6}, Placer: datamesh.PeerID{5}, Time: at, Registrars: 1}}}
	lied := *r
	lied.Silent, lied.Refused = 1, []node.RefusedReceipt{{Registrar: datamesh.PeerID{7}, Segment: datamesh.SegmentID{2}, Reason: "receipt of x/5: of another mesh, y"}}
	lied.Receipts = nil
	for range 20 {
		lied.Receipts = append(lied.Receipts, r.Receipts[0])
	}
	none := &node.Receipts{Name: "whole", Segments: 1, Receipts: []node.Receipt{}, Refused: []node.RefusedReceipt{}}
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	var text, doc bytes.Buffer
	for _, r := range []*node.Receipts{r, &lied, none} {
		table := newTable(&text)
		receiptsText(table, r)
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/receipts.text", text.String())
	golden(t, "testdata/receipts.json", doc.String())
}
