package transfer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

// golden compares b with a golden file.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".v1")
	if *update {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: %d bytes, other than the %d that were fixed", name, len(b), len(want))
	}
}

// wire returns the bytes of a message.
func wire(t testing.TB, header any, payload []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeMessage(&b, header, payload, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// requests has a request of each operation with all that it can have.
func requests(t testing.TB) map[string]request {
	s := storetest.Segment(t, 1, 2, 1, 10)
	d := format.EncodeDescriptor(s.Descriptor)
	keys := wireKeys(s.Keys())
	return map[string]request{
		"put":     {Version: version, Op: opPut, Keys: keys[:1], Descriptor: d, Length: 5},
		"get":     {Version: version, Op: opGet, Keys: keys[1:2]},
		"range":   {Version: version, Op: opRange, Keys: keys[2:], Offset: 3, Count: 2},
		"has":     {Version: version, Op: opHas, Keys: keys},
		"list":    {Version: version, Op: opList, Keys: keys[:1], Count: 1000},
		"drop":    {Version: version, Op: opDrop, Deletion: format.EncodeDeletion(s.Deletion(7))},
		"report":  {Version: version, Op: opReport, Reports: []report{{Descriptor: d, Holders: []holding{{Index: 1, Peer: datamesh.PeerID{1}}, {Index: 2, Peer: datamesh.PeerID{2}}}}}},
		"locate":  {Version: version, Op: opLocate, Keys: []key{{Segment: s.Segment}}},
		"compare": compareRequest(s),
		"words":   {Version: version, Op: opWords, Words: []Word{{Segment: s.Segment, Generation: 1 << 63}}, Range: []key{{}, {Segment: datamesh.SegmentID{255}}}},
		"holds":   {Version: version, Op: opHolds, Keys: keys[1:], Range: wireKeys([]datamesh.ShardKey{datamesh.First, s.Key(2)})},

		"proofs":              {Version: version, Op: opProofs, Keys: []key{{Segment: s.Segment}, {Segment: datamesh.SegmentID{1}}}},
		"receipts":            {Version: version, Op: opReceipts, Keys: []key{{Segment: s.Segment}}},
		"put-with-receipt":    {Version: version, Op: opPut, Keys: keys[:1], Count: 1, Descriptor: d, Length: 5},
		"put-record":          {Version: version, Op: opPutRecord, Record: format.EncodeRecord(recordOf(t, 1, 1))},
		"records":             {Version: version, Op: opRecords, RecordKeys: keysOf(recordOf(t, 1, 1))},
		"records-again":       {Version: version, Op: opRecords, RecordKeys: keysOf(recordOf(t, 1, 1)), Digest: bytes.Repeat([]byte{9}, 32)},
		"compare-records":     {Version: version, Op: opCompareRecords, RecordKeys: keysOf(recordOf(t, 1, 1), recordOf(t, 1, 2)), Ends: keysOf(recordOf(t, 1, 1), recordOf(t, 1, 3))},
		"owned":               {Version: version, Op: opOwned, Keys: []key{{Segment: s.Segment}}, Owner: s.Descriptor.Owner[:], Signature: bytes.Repeat([]byte{7}, 64)},
		"report-with-receipt": {Version: version, Op: opReport, Reports: []report{{Descriptor: d, Holders: []holding{}, Receipts: [][]byte{receiptOf(t, s)}}}},
	}
}

// holderKey is of the peer that signs receipts.
var holderKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// receiptOf is the encoded receipt of a sample's shard 1.
func receiptOf(t testing.TB, s *storetest.Sample) []byte {
	t.Helper()
	r, err := format.SignReceipt(holderKey, datamesh.Receipt{Mesh: datamesh.MeshID{1}, Segment: s.Segment, Index: 1,
		Shard: s.Descriptor.Shards[1], Placer: datamesh.PeerID{2}, Time: 1_800_000_000})
	if err != nil {
		t.Fatal(err)
	}
	return format.EncodeReceipt(r)
}

// compareRequest has the sums of the shards of a sample.
func compareRequest(s *storetest.Sample) request {
	req := sumsOf([32]byte{1, 2, 3}, 2*perRange, s.Keys()...).request()
	req.Version = version
	return req
}

// responses has each form of a response.
func responses(t testing.TB) map[string]response {
	s := storetest.Segment(t, 1, 2, 1, 10)
	d := format.EncodeDescriptor(s.Descriptor)
	return map[string]response{
		"done":     {Version: version},
		"error":    {Version: version, Kind: uint8(errs.Full), Text: "no room: ü"},
		"progress": {Version: version, More: true, Received: 65536},
		"shard":    {Version: version, Descriptor: d, Length: 5},
		"has":      {Version: version, Has: []bool{true, false}},
		"list":     {Version: version, Keys: wireKeys(s.Keys())},
		"locate":   {Version: version, Descriptor: d, Holders: []holding{{Index: 1, Peer: datamesh.PeerID{1}}}},
		"compare":  {Version: version, Differ: []int{0, 1, 255, 4095}},
		"words":    {Version: version, Unknown: []datamesh.SegmentID{{2}}, Deleted: [][]byte{format.EncodeDeletion(s.Deletion(8))}},
		"holds":    {Version: version, Unknown: []datamesh.SegmentID{{1}, s.Segment}, Deleted: [][]byte{format.EncodeDeletion(s.Deletion(7))}},
		"proofs":   {Version: version, Has: []bool{true, false}, Proofs: []proof{{Segment: s.Segment, Index: 1, Peer: datamesh.PeerID{1}, Age: 3600}}},
		"receipts": {Version: version, Receipts: [][]byte{receiptOf(t, s)}},
		"records":  {Version: version, Records: [][]byte{format.EncodeRecord(recordOf(t, 1, 1))}},

		"owned":           {Version: version, Owned: [][]byte{d}, Next: s.Segment[:]},
		"compare-records": {Version: version, RecordKeys: keysOf(recordOf(t, 1, 2)), Records: [][]byte{format.EncodeRecord(recordOf(t, 1, 3))}},
	}
}

func TestRequestsKeepTheirBytes(t *testing.T) {
	for name, req := range requests(t) {
		b := wire(t, req, nil)
		golden(t, "request-"+name, b)
		var got request
		if err := readMessage(bytes.NewReader(b), "request", &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(req, got, cmp.AllowUnexported(key{}, holding{}, Word{}, proof{}, recordKey{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestResponsesKeepTheirBytes(t *testing.T) {
	for name, resp := range responses(t) {
		b := wire(t, resp, nil)
		golden(t, "response-"+name, b)
		var got response
		if err := readMessage(bytes.NewReader(b), "response", &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(resp, got, cmp.AllowUnexported(key{}, holding{}, Word{}, proof{}, recordKey{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMessageOverTheLimitIsNotSent(t *testing.T) {
	err := writeMessage(io.Discard, request{Version: version, Op: opDrop, Deletion: make([]byte, maxHeader)}, nil, func() error { return nil })
	wantKind(t, "write", err, errs.Invalid)
}

// A script is a stream on which a peer says what it says, whatever is written.
type script struct{ io.Reader }

func (script) Write(b []byte) (int, error)     { return len(b), nil }
func (script) Close() error                    { return nil }
func (script) Reset() error                    { return nil }
func (script) SetDeadline(time.Time) error     { return nil }
func (script) SetReadDeadline(time.Time) error { return nil }

// FuzzRequest serves whatever a stream says. What is read as a request has
// one encoding.
func FuzzRequest(f *testing.F) {
	for _, req := range requests(f) {
		f.Add(wire(f, req, make([]byte, req.Length)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req request
		if readMessage(bytes.NewReader(b), "request", &req) == nil {
			if again := wire(t, req, nil); !bytes.HasPrefix(b, again) {
				t.Errorf("%x is read, and written as %x", b, again)
			}
		}
		NewServer(datamesh.PeerID{}, store.NewMemory(1<<20), nil, newRegistry()).Handle(t.Context(), anybody, script{bytes.NewReader(b)})
	})
}

// FuzzResponse lets a client hear anything. What a get returns is what it has
// asked for.
func FuzzResponse(f *testing.F) {
	sample := storetest.Segment(f, 1, 2, 1, 10)
	for _, resp := range responses(f) {
		f.Add(wire(f, resp, sample.Bytes[0][:resp.Length]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var resp response
		if readMessage(bytes.NewReader(b), "response", &resp) == nil {
			if again := wire(t, resp, nil); !bytes.HasPrefix(b, again) {
				t.Errorf("%x is read, and written as %x", b, again)
			}
		}
		c := NewClient(func(context.Context, datamesh.PeerID) (mesh.Stream, error) { return script{bytes.NewReader(b)}, nil })
		defer c.Close()
		shards := c.Shards(anybody)
		if _, shard, err := shards.Get(t.Context(), sample.Key(0), nil); err == nil && !bytes.Equal(shard, sample.Bytes[0]) {
			t.Errorf("get: %x", shard)
		}
		shards.GetRange(t.Context(), sample.Key(0), 1, 3)
		shards.Has(t.Context(), sample.Keys())
		if keys, err := shards.List(t.Context(), datamesh.First, 2); err == nil && len(keys) > 2 {
			t.Errorf("list: %d keys", len(keys))
		}
		shards.Put(t.Context(), sample.Descriptor, 0, sample.Bytes[0])
		shards.Drop(t.Context(), sample.Deletion(1))
		c.Locate(t.Context(), anybody, sample.Segment)
		sums := sumsOf([32]byte{1}, 2*perRange, sample.Keys()...)
		if differ, err := c.Compare(t.Context(), anybody, sums); err == nil && (len(differ) > 2 || !slices.IsSorted(differ)) {
			t.Errorf("compare: %v differ", differ)
		}
		unknown, deleted, err := c.Holds(t.Context(), anybody, Range{After: datamesh.First, Upto: sample.Key(2), Keys: sample.Keys()})
		if err == nil && (len(unknown)+len(deleted) > 1 || slices.ContainsFunc(unknown, func(id datamesh.SegmentID) bool { return id != sample.Segment })) {
			t.Errorf("holds: unknown are %v, deleted %v", unknown, deleted)
		}
	})
}
