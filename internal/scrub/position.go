package scrub

import (
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A position is where a pass is, and when the last one ended.
type position struct {
	after datamesh.ShardKey // that was read last; [datamesh.First] between two passes
	ended time.Time         // zero: none has
}

func (p position) between() bool { return p.after == datamesh.First }

const (
	positionVersion = 1
	maxPosition     = 64 // bytes
)

// positionRecord is the position as docs/format.md has it.
type positionRecord struct {
	Version uint64 `cbor:"1,keyasint"`
	Segment []byte `cbor:"2,keyasint,omitempty"`
	Index   uint64 `cbor:"3,keyasint,omitempty"`
	Ended   uint64 `cbor:"4,keyasint,omitempty"`
}

func (p position) encode() []byte {
	rec := positionRecord{Version: positionVersion}
	if !p.between() {
		rec.Segment, rec.Index = p.after.Segment[:], uint64(p.after.Index)
	}
	if !p.ended.IsZero() {
		rec.Ended = uint64(p.ended.Unix())
	}
	return format.Marshal(rec)
}

// decodePosition reads a position. Kind: Serialization.
func decodePosition(b []byte) (position, error) {
	p := position{after: datamesh.First}
	if err := format.Newer("position of the scrub", b, positionVersion); err != nil {
		return p, err
	}
	var rec positionRecord
	if err := format.Unmarshal("position of the scrub", b, maxPosition, &rec); err != nil {
		return p, err
	}
	begun := len(rec.Segment) == len(p.after.Segment)
	if rec.Version != positionVersion || !begun && len(rec.Segment)+int(rec.Index) > 0 || rec.Index >= datamesh.MaxShards || rec.Ended > 1<<40 {
		return p, errs.New(errs.Serialization, "position of the scrub: it makes no sense")
	}
	if begun {
		p.after = datamesh.ShardKey{Segment: datamesh.SegmentID(rec.Segment), Index: int(rec.Index)}
	}
	if rec.Ended > 0 {
		p.ended = time.Unix(int64(rec.Ended), 0)
	}
	return p, nil
}
