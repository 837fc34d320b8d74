package node

import "datamesh"

// Discovered is the answer of discover: the members other than this node.
type Discovered struct {
	Members []Found `json:"members"`
	New     int     `json:"new"` // of them
}

// Found is a member that was asked whether it is there.
type Found struct {
	PeerID    datamesh.PeerID `json:"peer_id"`
	Addrs     []string        `json:"addrs"`
	Answers   bool            `json:"answers"`
	New       bool            `json:"new"`        // not known before
	LatencyMS float64         `json:"latency_ms"` // of its answer; 0: it did not answer
}

// BandwidthOptions says what is measured. The zero value is the default.
type BandwidthOptions struct {
	Peer string // its id; "" is all members that live, in turn
	Size int64  // bytes each way; 0 is 16 MiB
}

// Bandwidth is the answer of bandwidth.
type Bandwidth struct {
	Peers  []Throughput `json:"peers"`
	Failed []Unmeasured `json:"failed,omitempty"`
}

// Throughput is what went through to a peer and back.
type Throughput struct {
	PeerID            datamesh.PeerID `json:"peer_id"`
	LatencyMS         float64         `json:"latency_ms"`
	Sent              int64           `json:"sent"`
	SentPerSecond     int64           `json:"sent_per_second"`
	Received          int64           `json:"received"`
	ReceivedPerSecond int64           `json:"received_per_second"`
}

// Unmeasured is a peer that could not be measured.
type Unmeasured struct {
	PeerID datamesh.PeerID `json:"peer_id"`
	Error  string          `json:"error"`
}
