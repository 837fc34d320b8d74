package node

import (
	"time"

	"datamesh"
)

// These are the answers of a node's operations. Their JSON is what commands
// print with --json and what the local API speaks: sizes are bytes, times
// RFC 3339 in UTC.

// Identity says who this node and its user are.
type Identity struct {
	Name      string            `json:"name"` // of the identity in this home
	PeerID    datamesh.PeerID   `json:"peer_id"`
	Addrs     []string          `json:"addrs"` // of the running node; empty when none runs
	Owner     datamesh.OwnerKey `json:"owner"`
	Address   string            `json:"address"`          // what others share with
	Recipient string            `json:"recipient"`        // what others seal to
	Locked    bool              `json:"locked,omitempty"` // it has a passphrase that this node does not know
}

// PutOptions says how an object is stored. The zero value is the default.
type PutOptions struct {
	Name        string    `json:"name,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	To          []string  `json:"to,omitempty"`           // further recipients, in age's text
	Code        string    `json:"code,omitempty"`         // "k+m"; "" is the configured code
	Compress    string    `json:"compress,omitempty"`     // auto, off or max; "" is the configured one
	MinSurvives *int      `json:"min_survives,omitempty"` // the bar for success; nil is half of m
	Mode        uint32    `json:"mode,omitempty"`         // permission bits of the file, or datamesh.NoPermissions; 0: not known
	ModTime     time.Time `json:"mod_time,omitzero"`
	Type        string    `json:"type,omitempty"`     // media type
	Size        int64     `json:"size,omitempty"`     // of the content, if it is known
	Source      string    `json:"source,omitempty"`   // 64 hex digits that stand for the content; "": the put cannot be resumed
	Transfer    string    `json:"transfer,omitempty"` // the id that it is listed under
	Unnamed     bool      `json:"unnamed,omitempty"`  // the mesh is told the name by Publish, and not by this put
	Created     time.Time `json:"created,omitzero"`   // when it is said to have been stored, by which versions of a name are in order; zero: now
}

// Stored is the result of a put.
type Stored struct {
	ID          datamesh.ObjectID `json:"id"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	StoredBytes int64             `json:"stored_bytes"`      // of all shards on all peers
	Segments    int               `json:"segments"`          // the manifest's included
	Shards      int               `json:"shards"`            // acknowledged
	Peers       int               `json:"peers"`             // distinct ones that hold a shard
	Survives    int               `json:"survives"`          // peers that may vanish
	Resumed     int64             `json:"resumed,omitempty"` // bytes of content that an interrupted put had stored before
	Warnings    []string          `json:"warnings,omitempty"`
}

// Published says what came of telling the mesh names.
type Published struct {
	Warnings []string `json:"warnings,omitempty"`
}

// Heard says what came of learning what the user's other homes have said.
type Heard struct {
	Changed  int      `json:"changed"`           // objects that are otherwise now
	Partial  bool     `json:"partial,omitempty"` // some of it is missing or cannot be read, though the rest is known
	Warnings []string `json:"warnings,omitempty"`
}

// ObjectInfo is what a get knows of an object before its first byte.
type ObjectInfo struct {
	ID      datamesh.ObjectID `json:"id"`
	Name    string            `json:"name"`
	Size    int64             `json:"size"`
	Mode    uint32            `json:"mode,omitempty"`
	ModTime time.Time         `json:"mod_time,omitzero"`
	Type    string            `json:"type,omitempty"` // media type
	From    int64             `json:"from,omitempty"` // the byte that is the first to come
}

// Fetched is the result of a get.
type Fetched struct {
	ID   datamesh.ObjectID `json:"id"`
	Name string            `json:"name"`
	Size int64             `json:"size"`
	Out  string            `json:"out"`
	Bad  []BadShard        `json:"bad"`

	Named   int   `json:"named,omitempty"`   // objects that have the name which was asked for, if there are others
	Resumed int64 `json:"resumed,omitempty"` // bytes that an interrupted get had brought before
	DryRun  bool  `json:"dry_run,omitempty"` // nothing was written

	Range *Range `json:"range,omitempty"` // what came of the content, if it was not to be all
}

// Bytes returns how many bytes of content came.
func (f *Fetched) Bytes() int64 {
	if f.Range != nil {
		return f.Range.Length
	}
	return f.Size - f.Resumed
}

// A BadShard is one that a peer should have served and did not, or served wrong.
type BadShard struct {
	Segment datamesh.SegmentID `json:"segment"`
	Index   int                `json:"index"`
	Peer    datamesh.PeerID    `json:"peer_id"`
	Reason  string             `json:"reason"`
}

// An Object is a row of the catalog. One that has several names has several rows.
type Object struct {
	ID      datamesh.ObjectID `json:"id"`
	Name    string            `json:"name"`
	Size    int64             `json:"size"`
	Tags    []string          `json:"tags"`
	Created time.Time         `json:"created"`
	Type    string            `json:"type,omitempty"`    // media type
	Mode    uint32            `json:"mode,omitempty"`    // permission bits of the file
	ModTime time.Time         `json:"mod_time,omitzero"` // of the file
	Pinned  bool              `json:"pinned,omitempty"`  // it is not to be deleted
}

// List is the answer of list.
type List struct {
	Objects []Object `json:"objects"`
}

// Info is what the peers say now of an object's shards.
type Info struct {
	ID          datamesh.ObjectID `json:"id"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	Packed      int64             `json:"packed,omitempty"` // bytes that the content is compressed into; absent: it is not
	StoredBytes int64             `json:"stored_bytes"`     // of all shards that peers say now that they have
	Survives    int               `json:"survives"`         // -1: it cannot be read now
	Safety      Safety            `json:"safety"`
	Basis       Basis             `json:"basis"`    // of the nines
	Segments    []SegmentInfo     `json:"segments"` // the manifest's first
}

// SegmentInfo tells where the shards of one segment are.
type SegmentInfo struct {
	ID     datamesh.SegmentID `json:"id"`
	Shards []ShardInfo        `json:"shards"`
}

// ShardInfo tells of one shard on one peer.
type ShardInfo struct {
	Index int             `json:"index"`
	Peer  datamesh.PeerID `json:"peer_id"`
	Live  bool            `json:"live"` // the peer says now that it has it

	LastProof time.Time `json:"last_proof,omitzero"` // to any of the registrars that answer
}

// Peers is the answer of peers: storage members other than this node.
type Peers struct {
	Peers []Peer `json:"peers"`
}

// A Peer is a storage member of the mesh.
type Peer struct {
	PeerID    datamesh.PeerID `json:"peer_id"`
	Addrs     []string        `json:"addrs"`
	LatencyMS float64         `json:"latency_ms"` // last measured round trip; 0: not yet
	State     string          `json:"state"`      // alive, suspect or dead
	Role      string          `json:"role"`
	Used      int64           `json:"used"`
	Capacity  int64           `json:"capacity"`
	Labels    Labels          `json:"labels"`
}

// Labels name the failure domains that a member is in.
type Labels struct {
	Site  string `json:"site,omitempty"`
	Host  string `json:"host,omitempty"`
	Owner string `json:"owner,omitempty"`
}

// Stats are the figures of this node and of what it knows of its mesh.
type Stats struct {
	PeerID     datamesh.PeerID `json:"peer_id"`
	Mesh       datamesh.MeshID `json:"mesh,omitzero"` // none when this home is alone
	Uptime     float64         `json:"uptime_seconds"`
	Members    MemberStats     `json:"members"`
	Store      *StoreStats     `json:"store,omitempty"` // nil: this node stores nothing
	Catalog    CatalogStats    `json:"catalog"`
	Goroutines int             `json:"goroutines"` // of the process
}

// MemberStats count the storage members, this node included.
type MemberStats struct {
	Alive     int `json:"alive"`
	Suspect   int `json:"suspect"`
	Dead      int `json:"dead"`
	Connected int `json:"connected"` // connections to other peers
}

// StoreStats account for the bytes of this node's store:
// used + trash + reserve + free = capacity.
type StoreStats struct {
	Capacity int64 `json:"capacity"`
	Used     int64 `json:"used"`
	Trash    int64 `json:"trash"` // by shards that were deleted and can be brought back
	Reserve  int64 `json:"reserve"`
	Free     int64 `json:"free"`
	Shards   int64 `json:"shards"`
}

// CatalogStats count what this home's user has stored.
type CatalogStats struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}
