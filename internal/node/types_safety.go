package node

import "time"

// Safety is how safe an object is now. Of several objects it is the least of
// each, and the sum of what is counted.
type Safety struct {
	Hosts        DomainSafety `json:"hosts"`
	Sites        DomainSafety `json:"sites"`
	Shards       ShardSafety  `json:"shards"`
	Modelled     float64      `json:"modelled_nines"`     // against a loss within a year, 0 to 12, rounded down
	Demonstrated float64      `json:"demonstrated_nines"` // likewise
}

// DomainSafety is what survives when whole hosts, or sites, vanish. Whoever
// does not say where it is, is taken to vanish with whichever that is.
type DomainSafety struct {
	Known      bool `json:"known"`      // whether any holder says where it is
	Survives   int  `json:"survives"`   // that may vanish, whichever they are, at least; -1: it cannot be read now
	Domains    int  `json:"domains"`    // that the holders name
	Unlabelled int  `json:"unlabelled"` // holders that name none
}

// ShardSafety counts shards, and says when they were last proven: to a
// registrar, by a part that this drew.
type ShardSafety struct {
	Live        int       `json:"live"` // that a peer says now it has
	Total       int       `json:"total"`
	Proven      int       `json:"proven"`                // live ones that their holder has ever proven
	LastProof   time.Time `json:"last_proof,omitzero"`   // of these, the latest
	OldestProof time.Time `json:"oldest_proof,omitzero"` // of the live shard that was not proven for longest; none if one never was
}

// A Basis is what nines are computed from.
type Basis struct {
	MemberLoss       float64 `json:"member_loss_per_year"` // a rate
	MemberLossFrom   string  `json:"member_loss_from"`     // observed or assumed
	RepairHours      float64 `json:"repair_hours"`         // from a loss until all shards are there again, on average
	RepairFrom       string  `json:"repair_from"`          // observed or assumed
	HostLoss         float64 `json:"host_loss_per_year"`   // of a host with all members on it; assumed
	SiteLoss         float64 `json:"site_loss_per_year"`   // likewise
	DemonstratedFrom string  `json:"demonstrated_from"`    // segments or objects
	DemonstratedLost int     `json:"demonstrated_lost"`    // of these, now
	Years            float64 `json:"demonstrated_years"`   // of all that were not lost
	Seen             *Seen   `json:"seen"`                 // by the node; null: none runs in this home
}

// Where a number of a Basis comes from.
const (
	FromObserved = "observed"
	FromAssumed  = "assumed"
	FromSegments = "segments" // that the node keeps track of
	FromObjects  = "objects"  // that were asked about now, each since it was put
)

// Seen is what a node has seen of its mesh since it began to count.
type Seen struct {
	Since        time.Time `json:"since"`
	MemberYears  float64   `json:"member_years"`  // of all other members that were not dead, while the node ran
	Losses       int       `json:"losses"`        // members that were seen to die, and are not back
	Repairs      int       `json:"repairs"`       // segments that the node has made whole
	RepairHours  float64   `json:"repair_hours"`  // that these took, all together
	SegmentYears float64   `json:"segment_years"` // of those that it keeps track of
	SegmentsLost int       `json:"segments_lost"` // of these, now
}
