package node

import (
	"time"

	"datamesh"
)

// CleanupOptions says what a cleanup does. The zero value is the default.
type CleanupOptions struct {
	DryRun bool `json:"dry_run,omitempty"` // say what would be put into the trash
	Undo   bool `json:"undo,omitempty"`    // bring back what was put there
}

// A Cleaned is the result of cleanup: what the mesh has of an owner that no catalog
// of his knows.
type Cleaned struct {
	Segments int       `json:"segments"`        // put into the trash; with a dry run: that would be
	Bytes    int64     `json:"bytes"`           // of all their shards
	Oldest   time.Time `json:"oldest,omitzero"` // when the first of them was first seen
	Until    time.Time `json:"until,omitzero"`  // until when they can be brought back, at least

	Deleted int `json:"deleted,omitempty"` // segments that were deleted before, of which members that had not heard it were told again
	Failed  int `json:"failed,omitempty"`  // segments of which too few have acknowledged that: they stay for the next time

	Waiting      int       `json:"waiting"`        // segments that were not seen for long enough
	WaitingBytes int64     `json:"waiting_bytes"`  // of all their shards
	First        time.Time `json:"first,omitzero"` // when the first of these will have been
	Last         time.Time `json:"last,omitzero"`  // when all will have been

	Found []FoundObject `json:"found"` // that no catalog has, and that are kept

	Restored int  `json:"restored,omitempty"` // segments that were brought back from the trash
	Answered int  `json:"answered"`           // members that have said what they have; with undo: 0
	Asked    int  `json:"asked"`
	DryRun   bool `json:"dry_run,omitzero"` // nothing was put into the trash
}

// A FoundObject is one that is in the mesh, and in no catalog of its owner.
type FoundObject struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Size     int64             `json:"size"`
	Segments int               `json:"segments"`
}
