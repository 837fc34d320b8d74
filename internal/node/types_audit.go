package node

import (
	"time"

	"datamesh"
)

// AuditOptions says who is audited.
type AuditOptions struct {
	Peer  string `json:"peer"`            // its id
	Count int    `json:"count,omitempty"` // shards, at most; 0 is 64
}

// Audited is the answer of audit: what a peer could prove to hold.
type Audited struct {
	PeerID   datamesh.PeerID `json:"peer_id"`
	Shards   int             `json:"shards"`   // that it was asked for
	Proofs   int             `json:"proofs"`   // of them
	Failures []UnprovenShard `json:"failures"` // of them
	Silences int             `json:"silences"` // of them

	LastProof   time.Time `json:"last_proof,omitzero"`   // before this audit, since this node started
	LastFailure time.Time `json:"last_failure,omitzero"` // likewise
}

// An UnprovenShard is one that a peer is said to hold and could not prove.
type UnprovenShard struct {
	Segment datamesh.SegmentID `json:"segment"`
	Index   int                `json:"index"`
	Reason  string             `json:"reason"`
}
