package node

import (
	"math"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

const (
	experienceVersion = 1
	maxExperience     = 40 << 10 // bytes
)

// experienceRecord is what was seen, as docs/format.md has it.
type experienceRecord struct {
	Version        uint64            `cbor:"1,keyasint"`
	Since          int64             `cbor:"2,keyasint"`
	MemberSeconds  int64             `cbor:"3,keyasint,omitempty"`
	Losses         int64             `cbor:"4,keyasint,omitempty"`
	Dead           []datamesh.PeerID `cbor:"5,keyasint,omitempty"`
	Repairs        int64             `cbor:"6,keyasint,omitempty"`
	RepairSeconds  int64             `cbor:"7,keyasint,omitempty"`
	SegmentSeconds int64             `cbor:"8,keyasint,omitempty"`
	Lost           int64             `cbor:"9,keyasint,omitempty"`
}

func (s seen) encode() []byte {
	return format.Marshal(experienceRecord{experienceVersion, s.since, s.memberSeconds, s.losses, s.dead,
		s.repairs, s.repairSeconds, s.segmentSeconds, s.lost})
}

// decodeSeen reads what was seen. Kind: Serialization.
func decodeSeen(b []byte) (seen, error) {
	const what = "experience of the node"
	if err := format.Newer(what, b, experienceVersion); err != nil {
		return seen{}, err
	}
	var r experienceRecord
	if err := format.Unmarshal(what, b, maxExperience, &r); err != nil {
		return seen{}, err
	}
	if r.Version != experienceVersion || !r.sensible() {
		return seen{}, errs.New(errs.Serialization, "%s: it makes no sense", what)
	}
	return seen{r.Since, r.MemberSeconds, r.Losses, r.Dead, r.Repairs, r.RepairSeconds, r.SegmentSeconds, r.Lost}, nil
}

// sensible reports whether all numbers can be, and leave room to count on.
func (r *experienceRecord) sensible() bool {
	for _, x := range []struct{ n, most int64 }{{r.Since, 1 << 40}, {r.MemberSeconds, math.MaxInt64 / 2}, {r.Losses, 1e9},
		{r.Repairs, math.MaxInt64 / 2}, {r.RepairSeconds, math.MaxInt64 / 2}, {r.SegmentSeconds, math.MaxInt64 / 2}, {r.Lost, 1e9}} {
		if x.n < 0 || x.n > x.most {
			return false
		}
	}
	for i, peer := range r.Dead {
		if i > 0 && comparePeers(r.Dead[i-1], peer) >= 0 {
			return false
		}
	}
	return r.Since > 0 && len(r.Dead) <= maxDead && int64(len(r.Dead)) <= r.Losses
}
