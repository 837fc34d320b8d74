package node

import (
	"time"

	"datamesh"
)

// BackupObjects are what the catalog knows of backups.
type BackupObjects struct {
	Complete  bool           `json:"complete"` // all devices of the owner were heard, and nothing is missing of what they have said
	Why       string         `json:"why,omitempty"`
	Snapshots []BackupObject `json:"snapshots"` // the newest first
	Packs     []BackupObject `json:"packs"`
}

// A BackupObject is a snapshot or a pack.
type BackupObject struct {
	ID      datamesh.ObjectID `json:"id"`
	Name    string            `json:"name"`
	Size    int64             `json:"size"`
	Created time.Time         `json:"created"`
	Deleted bool              `json:"deleted"`
	Done    bool              `json:"done,omitempty"` // the mesh was told that it is deleted
	Until   time.Time         `json:"until,omitzero"` // until when what is deleted can be brought back, at least; none: it is gone for good
}

// Gone is the answer to which of some objects are gone.
type Gone struct {
	Gone []datamesh.ObjectID `json:"gone"`
}

// Checked is what reading every shard of an object has come to.
type Checked struct {
	ID      datamesh.ObjectID `json:"id"`
	Shards  int               `json:"shards"`  // that there should be
	Missing int               `json:"missing"` // that nobody has
	Bad     []BadShard        `json:"bad"`     // that are damaged where they are
}
