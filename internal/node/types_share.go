package node

import (
	"time"

	"datamesh"
)

// Contacts is the answer of contact list.
type Contacts struct {
	Contacts []Contact `json:"contacts"`
}

// A Contact is somebody with whom the user shares.
type Contact struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`            // of who he is by now
	Former   []string  `json:"former,omitempty"`   // addresses of who he was, the first one first
	Disputed bool      `json:"disputed,omitempty"` // several identities are said to have succeeded one of his
	Created  time.Time `json:"created"`
	Warnings []string  `json:"warnings,omitempty"`
}

// ShareOptions says with whom an object is shared. One of To and Recipient is
// given.
type ShareOptions struct {
	To        string        `json:"to,omitempty"`        // a contact's name or address
	Recipient string        `json:"recipient,omitempty"` // of a link, whose secret is no business of the node
	Expires   time.Duration `json:"expires,omitempty"`   // from now on; 0: never
}

// A Share is an object that the user shares.
type Share struct {
	ID        datamesh.ObjectID `json:"id"`     // of the receiver's manifest
	Object    datamesh.ObjectID `json:"object"` // of the user's
	Name      string            `json:"name"`
	Size      int64             `json:"size"`
	Contact   string            `json:"contact,omitempty"` // none: whoever has the link
	Address   string            `json:"address,omitempty"` // of the contact
	Link      string            `json:"link,omitempty"`    // told once, and kept nowhere
	Created   time.Time         `json:"created"`
	Until     time.Time         `json:"until,omitzero"`
	Withdrawn bool              `json:"withdrawn,omitempty"` // it is taken back, and the mesh is yet to be told
	Warnings  []string          `json:"warnings,omitempty"`
}

// Shares is the answer of list --shared.
type Shares struct {
	Shares []Share `json:"shares"`
}

// UnshareOptions says from whom an object is taken back. Either From or Link is
// given.
type UnshareOptions struct {
	From     string `json:"from,omitempty"`     // a contact's name or address
	Link     string `json:"link,omitempty"`     // the id that a link has
	Revoke   bool   `json:"revoke,omitempty"`   // the content is stored anew under other keys, and deleted under those of before
	Now      bool   `json:"now,omitempty"`      // which goes at once and for ever, and is not kept in the trash
	DryRun   bool   `json:"dry_run,omitempty"`  // say what would be done
	Transfer string `json:"transfer,omitempty"` // the id that the put of the content is listed under
}

// Unshared is the result of unshare.
type Unshared struct {
	Object   datamesh.ObjectID   `json:"object"`
	Name     string              `json:"name"`
	Taken    []datamesh.ObjectID `json:"taken"` // ids of the receivers' manifests, which are deleted
	Revoked  *Revoked            `json:"revoked,omitempty"`
	DryRun   bool                `json:"dry_run,omitempty"` // nothing was done
	Warnings []string            `json:"warnings,omitempty"`
}

// Revoked says what came of storing content anew under other keys.
type Revoked struct {
	Object      datamesh.ObjectID `json:"object,omitzero"` // that has it now; none: nothing was done
	Size        int64             `json:"size"`            // bytes that were read, sealed and sent again
	StoredBytes int64             `json:"stored_bytes"`    // of all shards of that; of a dry run an estimate
	Kept        []string          `json:"kept"`            // contacts who can read it still, by manifests of that
	Until       time.Time         `json:"until,omitzero"`  // until when the content of before is kept in the trash, at least; none: it is gone
}

// Inbox is the answer of inbox.
type Inbox struct {
	Objects   []Received `json:"objects"`
	Unreached []string   `json:"unreached"` // contacts of whom too little could be read
	Warnings  []string   `json:"warnings,omitempty"`
}

// A Received is an object that a contact shares with the user.
type Received struct {
	ID      datamesh.ObjectID `json:"id"`
	From    string            `json:"from"` // the contact's name
	Address string            `json:"address"`
	Name    string            `json:"name"`
	Size    int64             `json:"size"`
	Created time.Time         `json:"created"` // when it was shared
	Until   time.Time         `json:"until,omitzero"`
}

// Succeeded is the result of naming a successor.
type Succeeded struct {
	Owner     datamesh.OwnerKey `json:"owner"`     // of the identity of before
	Successor datamesh.OwnerKey `json:"successor"` // of that of from now on
	Address   string            `json:"address"`   // of the successor
	Warnings  []string          `json:"warnings,omitempty"`
}
