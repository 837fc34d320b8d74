package transfer

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// holderID is the peer that signs with holderKey.
var holderID = datamesh.PeerID(holderKey.Public().(ed25519.PublicKey))

// signedBy returns a receipt of a sample's shard 1 by that key.
func signedBy(t testing.TB, key ed25519.PrivateKey, s *storetest.Sample, placer datamesh.PeerID, change func(*datamesh.Receipt)) *datamesh.Receipt {
	t.Helper()
	r := datamesh.Receipt{Mesh: datamesh.MeshID{1}, Segment: s.Segment, Index: 1, Shard: s.Descriptor.Shards[1], Placer: placer, Time: 5}
	change(&r)
	signed, err := format.SignReceipt(key, r)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func same(*datamesh.Receipt) {}

// signing is a store that signs receipts.
type signing struct {
	datamesh.ShardStore
	t *testing.T
	s *storetest.Sample

	wanted []datamesh.PeerID // who wanted receipts
}

func (x *signing) Put(ctx context.Context, d *datamesh.Descriptor, index int, shard []byte) error {
	if placer, take := datamesh.ReceiptWanted(ctx); take != nil {
		x.wanted = append(x.wanted, placer)
		take(signedBy(x.t, holderKey, x.s, placer, same))
	}
	return x.ShardStore.Put(ctx, d, index, shard)
}

// A server tells its store who is at the other end, whatever that says of
// itself, and only when a receipt is wanted.
func TestReceiptsNameWhoeverIsConnected(t *testing.T) {
	s := storetest.Segment(t, 1, 2, 1, 100_000)
	p := newPair(t)
	x := &signing{ShardStore: store.NewMemory(1 << 20), t: t, s: s}
	c := p.dialServer(t, x, newRegistry())
	if err := c.Shards(p.member.ID()).Put(t.Context(), s.Descriptor, 1, s.Bytes[1]); err != nil || len(x.wanted) > 0 {
		t.Fatalf("%v, receipts are wanted by %v", err, x.wanted)
	}
	ctx := datamesh.WithReceipt(t.Context(), datamesh.PeerID{9}, func(*datamesh.Receipt) { t.Error("a receipt for another is taken") })
	if err := c.Shards(p.member.ID()).Put(ctx, s.Descriptor, 1, s.Bytes[1]); err != nil {
		t.Fatal(err)
	}
	if len(x.wanted) != 1 || x.wanted[0] == (datamesh.PeerID{9}) || x.wanted[0] == p.member.ID() {
		t.Errorf("receipts are wanted by %v", x.wanted)
	}
}

func TestPutTakesItsHoldersReceiptAlone(t *testing.T) {
	s, other := storetest.Segment(t, 1, 2, 1, 10), storetest.Segment(t, 2, 2, 1, 10)
	placer := datamesh.PeerID{7}
	stranger := ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize))
	good := signedBy(t, holderKey, s, placer, same)
	forged := *good
	forged.Time++
	encode := func(r *datamesh.Receipt) [][]byte { return [][]byte{format.EncodeReceipt(r)} }
	for what, tt := range map[string]struct {
		receipts [][]byte
		taken    bool
	}{
		"its own":           {encode(good), true},
		"none":              {nil, false},
		"two":               {append(encode(good), encode(good)...), false},
		"something else":    {[][]byte{{1, 2, 3}}, false},
		"a forged one":      {encode(&forged), false},
		"another's":         {encode(signedBy(t, stranger, s, placer, same)), false},
		"of another placer": {encode(signedBy(t, holderKey, s, datamesh.PeerID{8}, same)), false},
		"of another shard": {encode(signedBy(t, holderKey, s, placer, func(r *datamesh.Receipt) {
			r.Index, r.Shard = 0, s.Descriptor.Shards[0]
		})), false},
		"of other bytes":     {encode(signedBy(t, holderKey, s, placer, func(r *datamesh.Receipt) { r.Shard = other.Descriptor.Shards[1] })), false},
		"of another segment": {encode(signedBy(t, holderKey, s, placer, func(r *datamesh.Receipt) { r.Segment = other.Segment })), false},
	} {
		c := lie(t, func(stream mesh.Stream, req request) {
			if req.Count != 1 {
				t.Errorf("%s: the put does not say that a receipt is wanted", what)
			}
			tell(stream, response{Receipts: tt.receipts}, nil)
		})
		var got *datamesh.Receipt
		ctx := datamesh.WithReceipt(t.Context(), placer, func(r *datamesh.Receipt) { got = r })
		if err := c.Shards(holderID).Put(ctx, s.Descriptor, 1, s.Bytes[1]); err != nil {
			t.Errorf("%s: the put fails for want of a receipt: %v", what, err)
		}
		if (got != nil) != tt.taken || got != nil && *got != *good {
			t.Errorf("%s: got %+v, want one: %v", what, got, tt.taken)
		}
	}
}

func TestReceiptsTravelWithReports(t *testing.T) {
	s := storetest.Segment(t, 1, 2, 1, 10)
	r := newRegistry()
	p := newPair(t)
	c := p.dialServer(t, store.NewMemory(1<<20), r)
	report := store.Report{Descriptor: s.Descriptor, Holdings: []store.Holding{{Index: 1, Peer: holderID}}}
	for i := range store.MaxReceipts {
		report.Receipts = append(report.Receipts, signedBy(t, holderKey, s, datamesh.PeerID{1}, func(r *datamesh.Receipt) { r.Time = int64(i + 1) }))
	}
	if err := c.Report(t.Context(), p.member.ID(), []store.Report{report}); err != nil {
		t.Fatal(err)
	}
	list, refused, err := c.Receipts(t.Context(), p.member.ID(), s.Segment)
	if diff := cmp.Diff(report.Receipts, list); err != nil || len(refused) > 0 || diff != "" {
		t.Errorf("%v, %v (-want +got):\n%s", err, refused, diff)
	}
	forged := *report.Receipts[0]
	forged.Placer[0]++
	report.Receipts = []*datamesh.Receipt{&forged}
	wantKind(t, "report with a forged receipt", c.Report(t.Context(), p.member.ID(), []store.Report{report}), errs.Authentication)
	r.answer(errs.New(errs.Database, "the disk is gone"))
	_, _, err = c.Receipts(t.Context(), p.member.ID(), s.Segment)
	wantKind(t, "receipts", err, errs.Database)
	for _, keys := range [][]key{nil, {{}, {}}} {
		_, _, err := c.call(t.Context(), p.member.ID(), request{Op: opReceipts, Keys: keys}, exchange{silence: getSilence})
		wantKind(t, "receipts of none or two", err, errs.Invalid)
	}
}

// A registrar that lies is not believed, and what it says truly is.
func TestReadersRefuseReceiptsThatAreNone(t *testing.T) {
	s := storetest.Segment(t, 1, 2, 1, 10)
	good := signedBy(t, holderKey, s, datamesh.PeerID{1}, same)
	forged := *good
	forged.Holder[0]++
	c := lie(t, say(response{Receipts: [][]byte{{}, format.EncodeReceipt(good), format.EncodeReceipt(&forged)}}, nil))
	list, refused, err := c.Receipts(t.Context(), anybody, s.Segment)
	if err != nil || len(list) != 1 || *list[0] != *good || len(refused) != 2 {
		t.Fatalf("got %v, %v, %v", list, refused, err)
	}
	wantKind(t, "nothing", refused[0], errs.Serialization)
	wantKind(t, "a forged one", refused[1], errs.Authentication)
	many := slices.Repeat([][]byte{format.EncodeReceipt(good)}, store.MaxReceipts+1)
	_, _, err = lie(t, say(response{Receipts: many}, nil)).Receipts(t.Context(), anybody, s.Segment)
	wantKind(t, "too many", err, errs.Serialization)
}
