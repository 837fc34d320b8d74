package node

import "datamesh"

// RepairOptions says how segments are repaired. The zero value is the default.
type RepairOptions struct {
	Object   string `json:"object,omitempty"`   // id or name of the one whose segments it is; "": all that the node keeps track of
	Transfer string `json:"transfer,omitempty"` // the id that it is listed under
	DryRun   bool   `json:"dry_run,omitempty"`  // only say what would be done
}

// Repaired is the answer of repair: what was found of the segments that the
// node keeps track of, or of an object's, and what was done, or would be.
type Repaired struct {
	Segments   int           `json:"segments"`   // that were looked at
	Waiting    int           `json:"waiting"`    // of these, that were not whole
	Repaired   int           `json:"repaired"`   // of these, that this node has made whole
	Unrepaired int           `json:"unrepaired"` // of these, that are still not whole
	Shards     int           `json:"shards"`     // that were given to members
	Bytes      int64         `json:"bytes"`      // of these
	Placed     []PlacedShard `json:"placed"`     // the first thousand of these
	Weak       []WeakSegment `json:"weak"`       // the first thousand of what is still not whole
	DryRun     bool          `json:"dry_run"`
}

// A PlacedShard was given to a member.
type PlacedShard struct {
	Segment datamesh.SegmentID `json:"segment"`
	Index   int                `json:"index"`
	Peer    datamesh.PeerID    `json:"peer"`
	Bytes   int                `json:"bytes"`
	Cause   string             `json:"cause"` // missing or spread
}

// A WeakSegment is less safe than the members allow.
type WeakSegment struct {
	Segment datamesh.SegmentID `json:"segment"`
	Reason  string             `json:"reason"`
}
