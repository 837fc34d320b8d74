package node

import (
	"time"

	"datamesh"
)

// Receipts is the answer of receipts: what members have signed for that were
// given shards of an object by repairs, as its registrars have it.
type Receipts struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Segments int               `json:"segments"` // that were asked about
	Receipts []Receipt         `json:"receipts"` // in the order of the segments, then by shard, the newest first
	Refused  []RefusedReceipt  `json:"refused"`  // what registrars have shown that is no receipt of the object; the first thousand
	Silent   int               `json:"silent"`   // questions that registrars did not answer
}

// A Receipt says that a peer has signed for a shard.
type Receipt struct {
	Segment    datamesh.SegmentID `json:"segment"`
	Index      int                `json:"index"`
	Shard      datamesh.ShardID   `json:"shard"`
	Holder     datamesh.PeerID    `json:"holder"`
	Placer     datamesh.PeerID    `json:"placer"`
	Time       time.Time          `json:"time"`       // by the holder's clock
	Member     bool               `json:"member"`     // the holder is a member that is known now
	Registrars int                `json:"registrars"` // that have shown it
}

// A RefusedReceipt is one that a registrar has shown and that is none.
type RefusedReceipt struct {
	Registrar datamesh.PeerID    `json:"registrar"`
	Segment   datamesh.SegmentID `json:"segment"`
	Reason    string             `json:"reason"`
}
