package node

import (
	"time"

	"datamesh"
)

// DeleteOptions says how an object is deleted. The zero value is the default.
type DeleteOptions struct {
	Now    bool   `json:"now,omitempty"`     // it goes at once and for ever, and is not kept in the trash
	Forget bool   `json:"forget,omitempty"`  // it is only taken out of the catalog, and stays in the mesh
	DryRun bool   `json:"dry_run,omitempty"` // say what would be deleted
	Name   string `json:"name,omitempty"`    // of an object that is given by its id: if it has others, only this one is taken away
	Resume bool   `json:"resume,omitempty"`  // only go on with a deletion that was interrupted, unless the object was brought back since
	Heard  bool   `json:"heard,omitempty"`   // nobody needs to be asked what other homes have said of it: Hear was called just before
}

// Removed is the result of rm.
type Removed struct {
	ID          datamesh.ObjectID `json:"id"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	StoredBytes int64             `json:"stored_bytes"`     // of all shards on all peers; 0: not known
	Segments    int               `json:"segments"`         // the manifest's included; 0: not known
	Until       time.Time         `json:"until,omitzero"`   // until when it can be brought back, at least
	Named       int               `json:"named,omitempty"`  // objects that have its name still
	Forgotten   bool              `json:"forgotten"`        // it is still in the mesh
	DryRun      bool              `json:"dry_run,omitzero"` // nothing was deleted

	Unnamed  bool     `json:"unnamed,omitempty"` // only the name was taken away: the object has others
	Names    []string `json:"names,omitempty"`   // the names that it has still, or, if it is gone and had several, had
	Warnings []string `json:"warnings,omitempty"`
}

// Undeleted is the result of undelete.
type Undeleted struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Size     int64             `json:"size"`
	Type     string            `json:"type,omitempty"` // media type; "" for what is not known
	Survives int               `json:"survives"`       // now; repair does the rest
}

// DeletedObjects is the answer of list --deleted.
type DeletedObjects struct {
	Objects []DeletedObject `json:"objects"`
}

// A DeletedObject is one that was deleted, and may still be brought back.
type DeletedObject struct {
	ID      datamesh.ObjectID `json:"id"`
	Name    string            `json:"name"`
	Size    int64             `json:"size"`
	Deleted time.Time         `json:"deleted"`
	Until   time.Time         `json:"until,omitzero"` // until when it can be brought back, at least; none: it is gone for good
	Done    bool              `json:"done"`           // the mesh has been told

	Was []datamesh.ObjectID `json:"was,omitempty"` // the ids that it had before its manifest was sealed anew
}
