package node

import "datamesh"

// ScrubOptions says how a pass over the store is made. The zero value is the
// default.
type ScrubOptions struct {
	Transfer string `json:"transfer,omitempty"` // the id that it is listed under
}

// Scrubbed is the answer of scrub: what a pass over the store has found.
type Scrubbed struct {
	Shards  int64          `json:"shards"`  // that were looked at
	Bytes   int64          `json:"bytes"`   // that were read
	Dropped int64          `json:"dropped"` // shards that were damaged, and are gone
	Mended  int64          `json:"mended"`  // that were whole in damaged files
	Kept    int64          `json:"kept"`    // that could not be read, or not be dropped
	Damaged []DamagedShard `json:"damaged"` // the first thousand of these three
}

// The fates of a damaged shard.
const (
	DroppedShard = "dropped"
	MendedShard  = "mended"
	KeptShard    = "kept"
)

// A DamagedShard is one of the own store that is not what it should be.
type DamagedShard struct {
	Segment datamesh.SegmentID `json:"segment"`
	Index   int                `json:"index"`
	Fate    string             `json:"fate"`
	Reason  string             `json:"reason"`
}
