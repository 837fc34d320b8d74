package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/metrics"
	"datamesh/internal/node"
)

// memory is a node of one, without a network, that forgets.
type memory struct {
	mu      sync.Mutex
	objects []stored // the newest last
}

type stored struct {
	node.Object
	content []byte
	options node.PutOptions
}

func (m *memory) Identity(ctx context.Context) (node.Identity, error) {
	return node.Identity{PeerID: datamesh.PeerID{1}, Addrs: []string{"/memory"}, Owner: datamesh.OwnerKey{2}, Recipient: "age1pq"}, ctx.Err()
}

func (m *memory) Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, errs.New(errs.IO, "put: %w", err)
	}
	sum := sha256.Sum256(content)
	m.mu.Lock()
	defer m.mu.Unlock()
	object := node.Object{ID: datamesh.ObjectID(sum), Name: o.Name, Size: int64(len(content)), Tags: append([]string{}, o.Tags...), Created: time.Unix(1, 0).UTC()}
	m.objects = append(m.objects, stored{object, content, o})
	return &node.Stored{ID: object.ID, Name: o.Name, Size: object.Size, Segments: 1, Shards: 1, Peers: 1, Warnings: []string{"it is only in memory"}}, nil
}

func (m *memory) find(ref string) (stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range slices.Backward(m.objects) {
		if o.Name == ref || o.ID.String() == ref {
			return o, nil
		}
	}
	return stored{}, errs.New(errs.FileNotFound, "no object %s", ref)
}

func (m *memory) Get(ctx context.Context, ref string, options node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	o, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	info := node.ObjectInfo{ID: o.ID, Name: o.Name, Size: o.Size, Mode: o.options.Mode, ModTime: o.options.ModTime}
	if options.Resume != nil && options.Resume.ID == o.ID {
		info.From = options.Resume.From
	}
	end := o.Size
	if r := options.Range; r != nil {
		info.From, end = r.Offset, r.Offset+r.Length
	}
	w, err := open(info)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(o.content[info.From:end])); err != nil {
		return nil, err
	}
	bad := []node.BadShard{{Segment: datamesh.SegmentID(o.ID), Index: 3, Peer: datamesh.PeerID{7}, Reason: "wrong bytes"}}
	return &node.Fetched{ID: o.ID, Name: o.Name, Size: o.Size, Bad: bad, Range: options.Range}, nil
}

func (m *memory) List(ctx context.Context, o node.ListOptions, each func(node.Object) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, x := range slices.Backward(m.objects) {
		x.Object.Type = fmt.Sprintf("%+v", o)
		if err := each(x.Object); err != nil {
			return err
		}
		if len(m.objects)-i == o.Limit {
			break
		}
	}
	return ctx.Err()
}

func (m *memory) Versions(_ context.Context, name string) (*node.Versions, error) {
	return &node.Versions{Name: name, Versions: []node.Version{{ID: datamesh.ObjectID{1}, Size: 1, Tags: []string{"ÿ"}, Deleted: time.Unix(1, 0).UTC()}}}, nil
}

func (m *memory) Rename(_ context.Context, o node.RenameOptions) (*node.Renamed, error) {
	return &node.Renamed{From: o.From, To: o.To, Objects: 3, Warnings: []string{fmt.Sprint(o.Force)}}, nil
}

func (m *memory) Copy(_ context.Context, o node.CopyOptions) (*node.Copied, error) {
	return &node.Copied{ID: datamesh.ObjectID{1}, Name: o.To, Names: []string{o.From, o.To}}, nil
}

func (m *memory) Tag(_ context.Context, o node.TagOptions) (*node.Tagged, error) {
	return &node.Tagged{Objects: len(o.Remove), Tags: append(o.Add, o.Ref)}, nil
}

func (m *memory) Pin(_ context.Context, o node.PinOptions) (*node.Pinned, error) {
	return &node.Pinned{Pinned: !o.Unpin, Warnings: []string{o.Ref}}, nil
}

func (m *memory) Delete(_ context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
	found, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	return &node.Removed{ID: found.ID, Name: found.Name, Size: found.Size, Segments: 2, Until: time.Unix(2, 0).UTC(), Forgotten: o.Forget, DryRun: o.DryRun}, nil
}

func (m *memory) Hear(context.Context) (*node.Heard, error) {
	return &node.Heard{Changed: 2, Warnings: []string{"not all"}}, nil
}

func (m *memory) Publish(context.Context) (*node.Published, error) {
	return &node.Published{Warnings: []string{"not yet"}}, nil
}

func (m *memory) Undelete(_ context.Context, ref string) (*node.Undeleted, error) {
	return &node.Undeleted{ID: datamesh.ObjectID{1}, Name: ref, Survives: -1}, nil
}

func (m *memory) Deleted(context.Context) (*node.DeletedObjects, error) {
	return &node.DeletedObjects{Objects: []node.DeletedObject{{ID: datamesh.ObjectID{1}, Name: "ü", Deleted: time.Unix(1, 0).UTC(), Done: true}}}, nil
}

func (m *memory) Info(ctx context.Context, ref string, prove bool) (*node.Info, error) {
	o, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	shard := node.ShardInfo{Index: 0, Peer: datamesh.PeerID{1}, Live: prove}
	return &node.Info{ID: o.ID, Name: o.Name, Size: o.Size, Segments: []node.SegmentInfo{{ID: datamesh.SegmentID(o.ID), Shards: []node.ShardInfo{shard}}}}, nil
}

func (m *memory) Check(ctx context.Context, ref string) (*node.Checked, error) {
	o, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	return &node.Checked{ID: o.ID, Shards: 6, Missing: 1, Bad: []node.BadShard{{Segment: datamesh.SegmentID{1}, Index: 2, Peer: datamesh.PeerID{1}, Reason: "ü"}}}, nil
}

func (m *memory) Peers(context.Context) (*node.Peers, error) {
	peer := node.Peer{PeerID: datamesh.PeerID{9}, Addrs: []string{"/ip4/192.0.2.1/tcp/1"}, LatencyMS: 1.5, State: "alive", Role: "storage", Used: 1, Capacity: 2, Labels: node.Labels{Site: "Zürich"}}
	return &node.Peers{Peers: []node.Peer{peer}}, nil
}

func (m *memory) Discover(context.Context) (*node.Discovered, error) {
	found := node.Found{PeerID: datamesh.PeerID{9}, Addrs: []string{"/ip4/192.0.2.1/tcp/1"}, Answers: true, New: true, LatencyMS: 1.5}
	return &node.Discovered{Members: []node.Found{found}, New: 1}, nil
}

func (m *memory) Bandwidth(_ context.Context, o node.BandwidthOptions) (*node.Bandwidth, error) {
	return &node.Bandwidth{Peers: []node.Throughput{{PeerID: datamesh.PeerID{9}, Sent: o.Size, SentPerSecond: 2}},
		Failed: []node.Unmeasured{{PeerID: datamesh.PeerID{8}, Error: "not " + o.Peer}}}, nil
}

func (m *memory) Doctor(context.Context) (*node.Diagnosis, error) {
	return &node.Diagnosis{Checks: []node.Check{{Name: "port", Status: node.CheckFailed, Detail: "d", Advice: "a"}}}, nil
}

func (m *memory) Cleanup(_ context.Context, o node.CleanupOptions) (*node.Cleaned, error) {
	return &node.Cleaned{Segments: 3, Bytes: 5, Oldest: time.Unix(7, 0).UTC(), Waiting: 1, Found: []node.FoundObject{{ID: datamesh.ObjectID{1}, Name: "ÿ\n", Size: 2, Segments: 3}},
		Answered: 2, Asked: 3, DryRun: o.DryRun}, nil
}

func (m *memory) Scrub(_ context.Context, o node.ScrubOptions) (*node.Scrubbed, error) {
	return &node.Scrubbed{Shards: 3, Dropped: 1, Damaged: []node.DamagedShard{{Segment: datamesh.SegmentID{4}, Index: 2, Fate: node.DroppedShard, Reason: "not " + o.Transfer}}}, nil
}

func (m *memory) Audit(_ context.Context, o node.AuditOptions) (*node.Audited, error) {
	return &node.Audited{PeerID: datamesh.PeerID{9}, Shards: o.Count, Proofs: 2, LastProof: time.Unix(7, 0).UTC(),
		Failures: []node.UnprovenShard{{Segment: datamesh.SegmentID{4}, Index: 2, Reason: "not " + o.Peer}}}, nil
}

func (m *memory) Repair(_ context.Context, o node.RepairOptions) (*node.Repaired, error) {
	return &node.Repaired{Segments: 3, Waiting: 1, Placed: []node.PlacedShard{{Segment: datamesh.SegmentID{4}, Index: 2, Peer: datamesh.PeerID{9}, Bytes: 5, Cause: metrics.Spread}},
		Weak: []node.WeakSegment{{Segment: datamesh.SegmentID{5}, Reason: "not " + o.Transfer}}, DryRun: o.DryRun}, nil
}

func (m *memory) Receipts(_ context.Context, ref string) (*node.Receipts, error) {
	return &node.Receipts{Segments: 1, Receipts: []node.Receipt{{Segment: datamesh.SegmentID{4}, Index: 2, Holder: datamesh.PeerID{9}, Placer: datamesh.PeerID{8}, Time: time.Unix(7, 0).UTC(), Registrars: 3}},
		Refused: []node.RefusedReceipt{{Registrar: datamesh.PeerID{7}, Reason: "not " + ref}}, Silent: 1}, nil
}

func (m *memory) Stats(context.Context) (*node.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &node.Stats{PeerID: datamesh.PeerID{1}, Store: &node.StoreStats{Capacity: 5}, Catalog: node.CatalogStats{Objects: int64(len(m.objects))}}, nil
}

func (m *memory) Health(_ context.Context, quick bool) (*node.Health, error) {
	h := &node.Health{Verdict: "all is well", Members: node.MemberStats{Alive: 1}, Objects: []node.ObjectHealth{}}
	if !quick {
		h.Degraded = true
		h.Objects = append(h.Objects, node.ObjectHealth{ID: datamesh.ObjectID{1}, Name: "ÿ\n", Survives: -1, Possible: 2, Lost: 3, Problem: "x"})
	}
	return h, nil
}

func (m *memory) Metrics(context.Context) (*node.Metrics, error) {
	return &node.Metrics{Metrics: []metrics.Sample{{Name: "x_bucket", Type: "histogram", Help: "h", Labels: map[string]string{"le": "+Inf"}, Value: 1e300}}}, nil
}

func (m *memory) Alive(context.Context) error { return nil }

func (m *memory) Plan(_ context.Context, o node.PutOptions) (*node.Planned, error) {
	return &node.Planned{Name: o.Name, Size: o.Size, DryRun: true}, nil
}

func (m *memory) Transfers(_ context.Context, id string) (*node.Transfers, error) {
	all := []node.Transfer{{ID: "a", Kind: node.PutTransfer, Name: "ÿ", Size: -1, Sealed: 2, State: node.Running, Began: time.Unix(1, 0).UTC()},
		{ID: "b", Kind: node.GetTransfer, State: node.Interrupted, Began: time.Unix(2, 0).UTC()}}
	return &node.Transfers{Transfers: slices.DeleteFunc(all, func(t node.Transfer) bool { return id != "" && t.ID != id })}, nil
}

func (m *memory) CancelTransfer(_ context.Context, id string) error {
	if id != "b" {
		return errs.New(errs.FileNotFound, "no transfer %s", id)
	}
	return nil
}

// odd is a memory with other ways to put, get and list.
type odd struct {
	memory
	put  func(ctx context.Context, r io.Reader) (*node.Stored, error)
	get  func(ctx context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error)
	list func(ctx context.Context, each func(node.Object) error) error
}

func (o *odd) Put(ctx context.Context, r io.Reader, _ node.PutOptions) (*node.Stored, error) {
	return o.put(ctx, r)
}

func (o *odd) Get(ctx context.Context, _ string, _ node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	return o.get(ctx, open)
}

func (o *odd) List(ctx context.Context, _ node.ListOptions, each func(node.Object) error) error {
	return o.list(ctx, each)
}

func (m *memory) Contacts(ctx context.Context) (*node.Contacts, error) {
	k, err := m.AddContact(ctx, "a/b ?&%", "x")
	return &node.Contacts{Contacts: []node.Contact{*k}}, err
}

func (m *memory) AddContact(ctx context.Context, name, address string) (*node.Contact, error) {
	return &node.Contact{Name: name, Address: address, Created: time.Unix(2, 0).UTC()}, ctx.Err()
}

func (m *memory) RemoveContact(ctx context.Context, name string) (*node.Contact, error) {
	return m.AddContact(ctx, name, "removed")
}

func (m *memory) Share(ctx context.Context, ref string, o node.ShareOptions) (*node.Share, error) {
	return &node.Share{Name: ref, Contact: o.To, Until: time.Unix(0, int64(o.Expires)).UTC(), Warnings: []string{o.Recipient}}, ctx.Err()
}

func (m *memory) Shares(ctx context.Context) (*node.Shares, error) {
	return &node.Shares{Shares: []node.Share{{Name: "x", Withdrawn: true}}}, ctx.Err()
}

func (m *memory) Unshare(ctx context.Context, ref string, o node.UnshareOptions) (*node.Unshared, error) {
	return &node.Unshared{Name: ref, Taken: []datamesh.ObjectID{{1}}, Warnings: []string{o.From, o.Link, o.Transfer}, DryRun: o.DryRun && o.Now,
		Revoked: &node.Revoked{Object: datamesh.ObjectID{2}, Size: 3, Kept: []string{fmt.Sprint(o.Revoke)}}}, ctx.Err()
}

func (m *memory) Inbox(ctx context.Context) (*node.Inbox, error) {
	return &node.Inbox{Objects: []node.Received{{Name: "x", From: "y"}}, Unreached: []string{"z"}}, ctx.Err()
}

func (m *memory) BackupObjects(_ context.Context, learn bool) (*node.BackupObjects, error) {
	return &node.BackupObjects{Complete: learn, Snapshots: []node.BackupObject{{ID: datamesh.ObjectID{1}, Name: "ü", Size: 5, Created: time.Unix(1, 0).UTC(), Deleted: true, Until: time.Unix(2, 0).UTC()}},
		Packs: []node.BackupObject{{ID: datamesh.ObjectID{2}, Created: time.Unix(1, 0).UTC()}}}, nil
}

func (m *memory) Gone(_ context.Context, ids []datamesh.ObjectID) (*node.Gone, error) {
	return &node.Gone{Gone: slices.DeleteFunc(ids, func(id datamesh.ObjectID) bool { return id[31]%2 == 0 })}, nil
}

// earlier is a node of a version that knows no ranges.
type earlier struct{ *memory }

func (e earlier) Get(ctx context.Context, ref string, options node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	options.Range = nil
	return e.memory.Get(ctx, ref, options, open)
}
