// Package api is the local HTTP API of a running node: a server of a node's
// operations on a Unix socket, and a client that has the same operations.
//
// Whoever can reach the socket is the user of the node: it lies in a directory
// that is that user's alone, and both sides check that. Content streams in both
// directions without limit and without being held in memory. An error keeps
// its kind, its text and its hint; a stream that breaks is never taken for a
// whole one. It speaks HTTP/2, so that either side can end one request at any
// time, and answers HTTP/1.1 too.
package api

import (
	"context"
	"errors"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// Operations are what a node does for its user. [node.Node] and [Client] have
// them.
type Operations interface {
	// Identity says who the node and its user are.
	Identity(ctx context.Context) (node.Identity, error)

	// Put stores what r has until io.EOF. If r fails, so does Put, and
	// nothing is stored. A Read of r may be under way after Put has returned.
	Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error)

	// Publish has the mesh keep the names of puts that left that to it.
	Publish(ctx context.Context) (*node.Published, error)

	// Hear learns what the user's other homes have said.
	Hear(ctx context.Context) (*node.Heard, error)

	// Get reads the object that ref, its id or its name, means. It calls open
	// once, before the first byte, and writes only verified bytes to what open
	// returns, from where the info that open is told says. If it fails after
	// that, the bytes written are not all.
	Get(ctx context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error)

	// List calls each with the objects of the user's catalog that are asked
	// for, one at a time, and ends with the first error that each returns.
	List(ctx context.Context, o node.ListOptions, each func(node.Object) error) error

	// Versions returns the objects that have a name.
	Versions(ctx context.Context, name string) (*node.Versions, error)

	// Rename gives objects another name.
	Rename(ctx context.Context, o node.RenameOptions) (*node.Renamed, error)

	// Copy gives an object a further name.
	Copy(ctx context.Context, o node.CopyOptions) (*node.Copied, error)

	// Tag adds tags to objects, and takes some away.
	Tag(ctx context.Context, o node.TagOptions) (*node.Tagged, error)

	// Pin keeps objects from being deleted, or lets them.
	Pin(ctx context.Context, o node.PinOptions) (*node.Pinned, error)

	// Delete has an object deleted.
	Delete(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error)

	// Undelete brings an object back that was deleted.
	Undelete(ctx context.Context, ref string) (*node.Undeleted, error)

	// Deleted returns the user's objects that were deleted, the last first.
	Deleted(ctx context.Context) (*node.DeletedObjects, error)

	// Cleanup puts into the trash what the mesh has of the user and no catalog of
	// his knows, or brings it back.
	Cleanup(ctx context.Context, o node.CleanupOptions) (*node.Cleaned, error)

	// Contacts returns those with whom the user shares.
	Contacts(ctx context.Context) (*node.Contacts, error)

	// AddContact notes under a name whose address that is.
	AddContact(ctx context.Context, name, address string) (*node.Contact, error)

	// RemoveContact removes one with whom nothing is shared.
	RemoveContact(ctx context.Context, name string) (*node.Contact, error)

	// Share shares an object.
	Share(ctx context.Context, ref string, o node.ShareOptions) (*node.Share, error)

	// Shares returns what the user shares, the newest first.
	Shares(ctx context.Context) (*node.Shares, error)

	// Unshare takes back what was shared.
	Unshare(ctx context.Context, ref string, o node.UnshareOptions) (*node.Unshared, error)

	// Inbox returns what contacts share with the user, the newest first.
	Inbox(ctx context.Context) (*node.Inbox, error)

	// Info asks the peers where the shards of an object are now, and may have
	// them prove it.
	Info(ctx context.Context, ref string, prove bool) (*node.Info, error)

	// Check reads every shard of an object.
	Check(ctx context.Context, ref string) (*node.Checked, error)

	// Peers returns the storage members of the mesh other than the node.
	Peers(ctx context.Context) (*node.Peers, error)

	// Discover asks the mesh who is there now.
	Discover(ctx context.Context) (*node.Discovered, error)

	// Bandwidth moves bytes to members and back, and tells how fast they went.
	Bandwidth(ctx context.Context, o node.BandwidthOptions) (*node.Bandwidth, error)

	// Doctor looks at what only the node can see: its port, and the mesh.
	Doctor(ctx context.Context) (*node.Diagnosis, error)

	// Scrub reads all shards of the node's store, and tells which were damaged.
	Scrub(ctx context.Context, o node.ScrubOptions) (*node.Scrubbed, error)

	// Audit has a member prove shards that it is said to hold.
	Audit(ctx context.Context, o node.AuditOptions) (*node.Audited, error)

	// Repair looks at the segments that the node keeps track of, and has those
	// repaired that are not whole, or says what that would come to.
	Repair(ctx context.Context, o node.RepairOptions) (*node.Repaired, error)

	// Receipts returns what members have signed for that repairs gave shards of
	// an object.
	Receipts(ctx context.Context, ref string) (*node.Receipts, error)

	// Stats returns the figures of the node.
	Stats(ctx context.Context) (*node.Stats, error)

	// Health asks the peers what all objects of the user survive now, or, if
	// it shall be quick, tells only of the members.
	Health(ctx context.Context, quick bool) (*node.Health, error)

	// Metrics returns the counters of the node.
	Metrics(ctx context.Context) (*node.Metrics, error)
	// Alive reports with nil that the node gets round to its work.
	Alive(ctx context.Context) error

	// Plan says what a put of o.Size bytes would come to, and stores nothing.
	Plan(ctx context.Context, o node.PutOptions) (*node.Planned, error)

	// Transfers returns the running put or get of that id, or for "" all that
	// run and all that were interrupted and can be resumed.
	Transfers(ctx context.Context, id string) (*node.Transfers, error)

	// CancelTransfer gives up one that was interrupted.
	CancelTransfer(ctx context.Context, id string) error

	// BackupObjects returns the snapshots and packs of the catalog, after taking
	// over what other devices have said, if it shall learn.
	BackupObjects(ctx context.Context, learn bool) (*node.BackupObjects, error)

	// Gone has the mesh keep all that the catalog says, and returns which of the
	// objects the owner's words delete.
	Gone(ctx context.Context, ids []datamesh.ObjectID) (*node.Gone, error)
}

// A Problem is an error in JSON. Commands print it with --json, and the API
// sends it as application/problem+json.
type Problem struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
	Code  int    `json:"code"` // the exit code of a command that ends with it
	Hint  string `json:"hint"`
}

// ProblemOf describes an error.
func ProblemOf(err error) Problem {
	return Problem{
		Error: err.Error(),
		Kind:  errs.KindOf(err).Name(),
		Code:  errs.ExitCode(err),
		Hint:  errs.HintFor(err),
	}
}

// Err returns the error that p describes, with its kind, text and hint.
func (p Problem) Err() error {
	return &errs.Error{Kind: errs.ByName(p.Kind), Hint: p.Hint, Err: errors.New(p.Error)}
}
