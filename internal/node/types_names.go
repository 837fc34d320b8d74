package node

import (
	"time"

	"datamesh"
)

// ListOptions say what to list. The zero value stands for all, the newest first.
type ListOptions struct {
	Pattern string    `json:"pattern,omitempty"` // a name, what is below one that ends with a slash, or a glob
	Words   []string  `json:"words,omitempty"`   // all of which are in the name or the tags; then nothing but Limit counts beside them
	Tag     string    `json:"tag,omitempty"`
	Type    string    `json:"type,omitempty"`    // media type, or a glob of those
	Larger  int64     `json:"larger,omitempty"`  // than that many bytes
	Smaller int64     `json:"smaller,omitempty"` // likewise; 0 for no limit
	After   time.Time `json:"after,omitzero"`    // when they were stored, that included
	Before  time.Time `json:"before,omitzero"`
	Sort    string    `json:"sort,omitempty"` // "date", "name" or "size"
	Limit   int       `json:"limit,omitempty"`
}

// RenameOptions say what is renamed.
type RenameOptions struct {
	From  string `json:"from"` // an id, a name, or what is below one that ends with a slash
	To    string `json:"to"`
	Force bool   `json:"force,omitempty"` // to a name that is taken, too
}

// Renamed is the result of rename.
type Renamed struct {
	From     string   `json:"from"`
	To       string   `json:"to"`
	Objects  int      `json:"objects"` // that have another name now
	Warnings []string `json:"warnings,omitempty"`
}

// CopyOptions say what gets a further name.
type CopyOptions struct {
	From string `json:"from"` // an id, a name, or what is below one that ends with a slash
	To   string `json:"to"`
}

// Copied is the result of copy.
type Copied struct {
	ID       datamesh.ObjectID `json:"id,omitzero"`       // of one object
	Name     string            `json:"name"`              // the new one
	Names    []string          `json:"names,omitempty"`   // all that the object has now
	Objects  int               `json:"objects,omitempty"` // below a directory that have a further name now
	Warnings []string          `json:"warnings,omitempty"`
}

// TagOptions say how tags change.
type TagOptions struct {
	Ref    string   `json:"ref"` // an id, a name or a glob
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// Tagged is the result of tag.
type Tagged struct {
	Objects  int      `json:"objects"`        // that are meant
	Changed  int      `json:"changed"`        // of them
	Tags     []string `json:"tags,omitempty"` // that it has now, of one alone
	Warnings []string `json:"warnings,omitempty"`
}

// PinOptions say what is pinned.
type PinOptions struct {
	Ref   string `json:"ref"`             // an id, a name or a glob
	Unpin bool   `json:"unpin,omitempty"` // it is no more
}

// Pinned is the result of pin and of unpin.
type Pinned struct {
	Objects  int      `json:"objects"` // that are meant
	Changed  int      `json:"changed"` // of them
	Pinned   bool     `json:"pinned"`  // they are now
	Warnings []string `json:"warnings,omitempty"`
}

// Versions is the answer of versions.
type Versions struct {
	Name     string    `json:"name"`
	Versions []Version `json:"versions"`
}

// A Version is an object that has the name, or had it before it was deleted.
type Version struct {
	ID      datamesh.ObjectID `json:"id"`
	Size    int64             `json:"size"`
	Created time.Time         `json:"created"`
	Tags    []string          `json:"tags"`
	Pinned  bool              `json:"pinned,omitempty"`
	Deleted time.Time         `json:"deleted,omitzero"` // when it was
	Until   time.Time         `json:"until,omitzero"`   // until when it can be brought back then, at least
}
