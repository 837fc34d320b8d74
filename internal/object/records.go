package object

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
)

// recordRegistrars returns the peers that keep the records of an owner.
func recordRegistrars(view *ring.View, owner datamesh.OwnerKey) []datamesh.PeerID {
	return ring.Registrars(view, format.RecordPlace(owner), ring.RecordRegistrarCount(view.Live()))
}

// PutRecord gives a record to those who keep its owner's. It has succeeded when
// enough of them have it on their disks: a majority, the quorum of the mesh but no more
// than three quarters, and one more than may vanish. Kinds: Exists (its device has written
// another of that number, or later ones in its place: its writer has been an old
// copy of that device, and is to take another id and write again), Full (the owner
// has as many as he may, or they have no room), Unavailable (too few have it).
func (o *Objects) PutRecord(ctx context.Context, r *datamesh.Record) error {
	view := o.net.View()
	peers := recordRegistrars(view, r.Owner)
	quorum, err := placement.Quorum(known(view), len(peers))
	if err != nil {
		return err
	}
	quorum = min(quorum, (3*len(peers)+3)/4) // some of them may just have died
	need := max(len(peers)/2+1, quorum, min(o.Parity+1, len(peers)))
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		peer datamesh.PeerID
		err  error
	}
	answers := make(chan answer, len(peers))
	for _, peer := range peers {
		go func() { answers <- answer{peer, o.giveRecord(asking, peer, r)} }()
	}
	taken, full, conflict, failed := 0, 0, false, map[datamesh.PeerID]error{}
	for range peers {
		a := <-answers
		if a.err != nil {
			failed[a.peer] = a.err
		} else if taken++; taken == need { // the others have no longer than the grace
			defer time.AfterFunc(o.grace, cancel).Stop()
		}
		switch errs.KindOf(a.err) {
		case errs.Exists:
			conflict = true
		case errs.Full:
			full++
		}
	}
	switch {
	case conflict:
		return errs.New(errs.Exists, "put record %d: its device has written another of that number, or later ones in its place", r.Seq)
	case taken >= need:
		return nil
	case full > len(peers)-need:
		return errs.New(errs.Full, "put record %d: %d of %d peers have it, %d must: %s", r.Seq, taken, len(peers), need, reasons(failed))
	}
	return errors.Join(ctx.Err(), errs.New(errs.Unavailable, "put record %d: %d of %d peers have it, %d must: %s", r.Seq, taken, len(peers), need, reasons(failed)))
}

// giveRecord gives a record to a peer. One that says that there is another of its
// number, or a later one in its place, must show that: else it could have an owner
// use up his devices. Kinds: Exists, Full, Integrity (it shows none), Unavailable,
// Network.
func (o *Objects) giveRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	err := o.net.PutRecord(ctx, peer, r)
	if !errors.Is(err, errs.Exists) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, showTime)
	defer cancel()
	list, unread := o.net.Records(ctx, peer, r.Owner)
	key := format.RecordKey(r)
	if slices.ContainsFunc(list, func(x *datamesh.Record) bool {
		return x.Mesh == r.Mesh && x.Owner == r.Owner && x.Device == r.Device && (x.Base >= r.Seq || x.Seq == r.Seq && format.RecordKey(x) != key)
	}) {
		return err
	}
	return errors.Join(unread, errs.New(errs.Integrity, "it says that there is another record %d of that device, and shows none", r.Seq))
}

// showTime is how long a peer may take to show what it has in the place of a record.
const showTime = 10 * time.Second

const (
	recordsTime = time.Minute     // for a peer to send all records of an owner
	lateTime    = 3 * time.Second // for the others, when enough have
)

// Found is what was found of an owner's records.
type Found struct {
	Records    []*datamesh.Record // by device and number; without those that are superseded
	Registrars int                // peers that keep them
	Answered   int                // of these
}

// Records asks those who keep an owner's records for them, and returns all that
// any has and that he has signed for this mesh. A majority of those who would keep
// them if all members were there must answer: what was acknowledged is known to
// one of them. Kind: Unavailable, with what was found.
func (o *Objects) Records(ctx context.Context, owner datamesh.OwnerKey) (Found, error) {
	view := o.net.View()
	peers := recordRegistrars(view, owner)
	found, failed := Found{Registrars: len(peers)}, map[datamesh.PeerID]error{}
	mesh := meshOf(view)
	need := ring.RecordRegistrarCount(known(view))/2 + 1
	asking, cancel := context.WithTimeout(ctx, recordsTime)
	defer cancel()
	var mu sync.Mutex // guards all, found and failed
	all := map[datamesh.RecordKey]*datamesh.Record{}
	each(len(peers), func(i int) {
		list, err := o.net.Records(asking, peers[i], owner)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[peers[i]] = err
			return
		}
		if found.Answered++; found.Answered == need {
			time.AfterFunc(lateTime, cancel)
		}
		for _, r := range list {
			if r.Mesh == mesh && r.Owner == owner {
				all[format.RecordKey(r)] = r
			}
		}
	})
	found.Records = latest(all)
	if found.Answered < need {
		err := errs.New(errs.Unavailable, "records of %s: %d of %d peers that keep them answered, %d must: %s", owner, found.Answered, len(peers), need, reasons(failed))
		return found, errors.Join(ctx.Err(), err)
	}
	return found, nil
}

// meshOf returns the mesh that members are of.
func meshOf(view *ring.View) (mesh datamesh.MeshID) {
	for m := range view.All() {
		return m.Record.Mesh
	}
	return mesh
}

// latest returns those of an owner's records that no other supersedes, by device
// and number.
func latest(all map[datamesh.RecordKey]*datamesh.Record) (list []*datamesh.Record) {
	base := map[[16]byte]uint64{}
	for _, r := range all {
		base[r.Device] = max(base[r.Device], r.Base)
	}
	var keys []datamesh.RecordKey
	for key := range all {
		if key.Seq > base[key.Device] {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, datamesh.RecordKey.Compare)
	for _, key := range keys {
		list = append(list, all[key])
	}
	return list
}
