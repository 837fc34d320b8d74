package repair

import (
	"time"

	"datamesh"
	"datamesh/internal/ring"
	"datamesh/internal/store"
)

// An Event is what happened: Tick, Members, Reviewed, Announced, Told,
// Corrected, Lost, Hurry, Surveyed or Repaired.
type Event interface{ event() }

// Tick says that nothing happened, but time went by.
type Tick struct{}

// Members says who the members are now.
type Members struct{ View *ring.View }

// Reviewed has what a Review was to read, in its order.
type Reviewed struct {
	Segments []store.Tracked
	Last     bool  // there are no more
	Err      error // why the rest could not be read
}

// Announced says that an Announce has ended, and who could not be told.
type Announced struct{ Told, Failed []datamesh.PeerID }

// Told says that a member has reported who holds segments.
type Told struct {
	From    datamesh.PeerID
	Reports []store.Report
}

// Corrected says that what is known of who holds what has changed.
type Corrected struct{}

// Lost says that this member has shards no more that it had.
type Lost struct{}

// Surveyed has who is there and holds a segment's shards, by index. Gone says
// that the segment was deleted, or is not known.
type Surveyed struct {
	Segment    datamesh.SegmentID
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Gone       bool
	Err        error
}

// Repaired says what became of a Repair, and who now holds the shards.
type Repaired struct {
	Segment    datamesh.SegmentID
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Placed     []Placed
	Gone       bool // the segment was deleted
	More       bool // some of it was left for another turn
	Hopeless   bool // what its owner has signed cannot be rebuilt
	Err        error
}

func (Tick) event()      {}
func (Members) event()   {}
func (Reviewed) event()  {}
func (Announced) event() {}
func (Told) event()      {}
func (Corrected) event() {}
func (Lost) event()      {}
func (Surveyed) event()  {}
func (Repaired) event()  {}

// An Effect is what the driver shall do: Review, Announce, Survey, Repair, Hint,
// Forget, Strike or Over.
type Effect interface{ effect() }

// Review asks for a page of the segments that this member keeps track of:
// those after the one named. A Reviewed follows.
type Review struct{ After datamesh.SegmentID }

// Announce asks for members to be told which shards this one holds that they
// keep track of: those named; or those that have become registrars of some of
// them, or have begun anew, since there was another table of members; or,
// without either, all registrars of what is held and all partners. An Announced
// follows.
type Announce struct {
	To    []datamesh.PeerID
	Since *ring.View
}

// Survey asks who holds a segment's shards. A Surveyed follows.
type Survey struct{ Segment datamesh.SegmentID }

// Repair asks for shards to be rebuilt, or copied, and given to peers, and for
// the registrars to be told. A Repaired follows.
type Repair struct {
	Descriptor *datamesh.Descriptor
	Holders    [][]datamesh.PeerID
	Copies     []Copy
	Since      time.Time // when the segment was first found not to be whole
}

// Hint asks for holders to be told which of their shards may be too many.
type Hint struct{ Segments []Surplused }

// Forget asks for what is known of who holds these segments to be forgotten:
// others keep track of them.
type Forget struct{ Segments []datamesh.SegmentID }

// Strike asks for holders of segments to be forgotten who are no members any
// more.
type Strike struct{ Holders []Holder }

// A Holder is a peer that is said to hold shards of a segment.
type Holder struct {
	Segment datamesh.SegmentID
	Peer    datamesh.PeerID
}

func (Strike) effect()   {}
func (Forget) effect()   {}
func (Hint) effect()     {}
func (Review) effect()   {}
func (Announce) effect() {}
func (Survey) effect()   {}
func (Repair) effect()   {}
