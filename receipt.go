package datamesh

import (
	"context"
	"crypto/ed25519"
)

// A Receipt is the word of a peer that it took a shard from another, or had it
// already, and has it on its disk, at that time. That is all it says: not that
// it has the shard still, nor that the shard was not elsewhere, too.
type Receipt struct {
	Mesh      MeshID
	Segment   SegmentID
	Index     int
	Shard     ShardID
	Holder    PeerID // who signed it
	Placer    PeerID // who gave the shard; of a command a key that is thrown away
	Time      int64  // Unix seconds, by the holder's clock
	Signature [ed25519.SignatureSize]byte
}

type receiptKey struct{}

type receiptWish struct {
	placer PeerID
	take   func(*Receipt)
}

// WithReceipt returns a context in which a [ShardStore] that signs receipts has
// take called, before Put returns, with one of the shard that placer gives it.
func WithReceipt(ctx context.Context, placer PeerID, take func(*Receipt)) context.Context {
	return context.WithValue(ctx, receiptKey{}, receiptWish{placer, take})
}

// ReceiptWanted returns who wants a receipt, and the function that is to be
// called with it; nil: nobody does.
func ReceiptWanted(ctx context.Context) (placer PeerID, take func(*Receipt)) {
	x, _ := ctx.Value(receiptKey{}).(receiptWish)
	return x.placer, x.take
}
