package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
)

const (
	publishTime = 30 * time.Second // in which the mesh must keep what the catalog says
	compactTime = 5 * time.Minute  // in which many records must become one object
)

// publish has the mesh keep what this home's catalog has said since it did so
// last. What it cannot send is sent the next time. Kinds: Unavailable, Full, and
// those of the catalog.
func (n *Node) publish(ctx context.Context, l *link) error {
	if l.net == nil {
		return nil // the names are as safe as the objects
	}
	sent, err := n.send(ctx, l)
	if sent && err == nil {
		n.compactSoon(l)
	}
	return err
}

// compactSoon has the log compacted while the user goes on. When a command ends
// before that has, the next one does it.
func (n *Node) compactSoon(l *link) {
	if !n.compacting.TryLock() {
		return // it is under way
	}
	n.wg.Go(func() {
		defer n.compacting.Unlock()
		if err := n.compact(n.ctx, l); err != nil && n.ctx.Err() == nil {
			n.log.Warn("the log of the catalog stays longer than it should", "error", err)
		}
	})
}

// Publish has the mesh keep the names of all that was put. It returns what the
// user should know if it cannot, which whatever changes something next mends.
func (n *Node) Publish(ctx context.Context) (*Published, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	var p Published
	if err := n.publish(ctx, l); err != nil {
		p.Warnings = append(p.Warnings, unnamed(err))
	}
	return &p, nil
}

// send has the mesh keep what the catalog has said until now, and reports whether
// this call has sent it: who waits for its turn to send mostly finds that others
// have done so.
func (n *Node) send(ctx context.Context, l *link) (sent bool, err error) {
	ticket := n.publishing.ask()
	for {
		known, changed := n.publishing.known()
		if known >= ticket {
			return false, nil
		}
		select {
		case n.publishing.turn <- struct{}{}:
			defer func() { <-n.publishing.turn }()
			if known, _ := n.publishing.known(); known >= ticket {
				return false, nil
			}
			return true, n.sendUntil(ctx, l, ticket)
		case <-changed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// sendUntil sends the mesh what it does not have of the catalog's log, until it has
// what a ticket is for. If it has room for no more, it is given a summary of what it
// has first.
func (n *Node) sendUntil(ctx context.Context, l *link, ticket uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	for {
		asked := n.publishing.asked()
		record, err := n.catalog.Unsent(ctx, n.sealer(l))
		if err != nil {
			return err
		}
		if record == nil {
			n.publishing.tell(asked)
			return nil
		}
		r, err := format.DecodeRecord(record.Bytes)
		if err != nil {
			return err
		}
		switch err = l.objects.PutRecord(ctx, r); {
		case err == nil:
			if record.Last {
				n.publishing.tell(asked) // they need not wait until it is noted
			}
			err = n.catalog.Sent(context.WithoutCancel(ctx), r.Device, r.Seq)
		case errors.Is(err, errs.Exists):
			err = n.refused(ctx, r)
		case errors.Is(err, errs.Full) && r.Base == 0:
			var merge *catalog.Merge
			if merge, err = n.due(ctx, err); err == nil {
				err = n.makeRun(ctx, l, merge)
			}
		}
		if err != nil {
			return err
		}
		if known, _ := n.publishing.known(); known >= ticket {
			return nil
		}
	}
}

// refused takes note that the mesh has another record in the place of one.
func (n *Node) refused(ctx context.Context, r *datamesh.Record) error {
	renewed, err := n.catalog.Refused(ctx, r.Device, r.Seq)
	if renewed {
		n.log.Warn("another home goes by the id of this one, of which it may be an old copy: it takes a new one")
	}
	return err
}

// due returns a run of what the mesh has. If there is nothing that could go into
// one it returns the error full.
func (n *Node) due(ctx context.Context, full error) (*catalog.Merge, error) {
	merge, err := n.catalog.Due(ctx, true)
	if err == nil && (merge == nil || merge.Level > 1) {
		err = full
	}
	return merge, err
}

// unnamed warns that the mesh does not know a name yet.
func unnamed(err error) string {
	return "the name is in the catalog of this home and not in the mesh yet, which the next command that changes something, or the service of this home, will mend: " + whyUnsaid(err)
}

// whyUnsaid returns why the mesh was not told, in one line.
func whyUnsaid(err error) string {
	if errors.Is(err, context.Canceled) { // then each peer says so
		return "it was interrupted"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// published has the mesh keep what has changed in the catalog. If that fails it
// is tried again with the next change, or by the service.
func (n *Node) published(ctx context.Context, l *link) {
	if err := n.publish(ctx, l); err != nil {
		n.log.Warn("what has changed in the catalog is not in the mesh yet", "error", err)
	}
}

// sealer makes the records of the catalog.
func (n *Node) sealer(l *link) catalog.Seal {
	return func(device catalog.DeviceID, seq, base uint64, block *format.LogBlock) ([]byte, error) {
		keys, err := n.heldKeys() // none is made for what another has said
		if err != nil {
			return nil, err
		}
		sealed, err := format.SealBlock(block, keys.Catalog)
		if err != nil {
			return nil, err
		}
		r, err := format.NewRecord(keys.Owner, l.net.Genesis().MeshID(), device, seq, base, sealed)
		if err != nil {
			return nil, err
		}
		return format.EncodeRecord(r), nil
	}
}

// compact has what many records say be kept in few objects, and deletes those
// that others have taken the place of.
func (n *Node) compact(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, compactTime)
	defer cancel()
	for {
		merge, err := n.catalog.Due(ctx, false)
		if err != nil {
			return err
		}
		if merge == nil {
			break
		}
		if err := n.makeRun(ctx, l, merge); err != nil {
			return err
		}
		if _, err := n.send(ctx, l); err != nil {
			return err
		}
	}
	old, err := n.catalog.Old(ctx)
	for _, id := range old {
		if err == nil {
			err = n.dropRun(ctx, l, id)
		}
	}
	return err
}

// makeRun stores a run as an object.
func (n *Node) makeRun(ctx context.Context, l *link, merge *catalog.Merge) error {
	code, err := n.code("", l.view().Len())
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(n.catalog.WriteRun(ctx, merge, w)) }()
	_, err = l.objects.Put(ctx, r, object.PutOptions{K: code.K, M: code.M, MinSurvives: -1, ToFirst: true}, func(p object.PutResult) error {
		made, err := n.catalog.Made(context.WithoutCancel(ctx), merge, p.ID, n.sealer(l))
		if err == nil && !made {
			err = errRunMade
		}
		return err
	})
	if errors.Is(err, errRunMade) {
		return nil
	}
	return err
}

var errRunMade = errs.New(errs.Exists, "another process has made this run of the catalog")

// dropRun deletes the object of a run that nothing names any more.
func (n *Node) dropRun(ctx context.Context, l *link, id datamesh.ObjectID) error {
	c, err := l.objects.Condemn(ctx, id)
	if err == nil {
		err = c.Delete(ctx, true)
	}
	if err != nil && !errors.Is(err, errs.Deleted) && !errors.Is(err, errs.FileNotFound) {
		return err
	}
	return n.catalog.Gone(ctx, id)
}

// learned says what came of learning what other devices have said.
type learned struct {
	Devices  int // that have said something, this one among them
	Changed  int // objects that are otherwise now
	Answered int // of those who keep the owner's records
	Asked    int
	Missing  int // records that nobody has who has answered, though later ones are there

	runs []datamesh.ObjectID // that the others' records name
}

// learnNames takes over what the owner's other devices have said. What cannot be
// read does not keep the rest from being taken over; then the error says so, beside
// what came of the rest. Kinds: Unavailable (too few answer, or a part of it cannot
// be read), Decryption (it cannot be opened), and those of the catalog.
func (n *Node) learnNames(ctx context.Context, l *link, keys *keyring.Ring) (done learned, err error) {
	found, err := l.objects.Records(ctx, keys.OwnerKey())
	if err != nil {
		return done, err
	}
	return n.learnFound(ctx, l, keys, found)
}

func (n *Node) learnFound(ctx context.Context, l *link, keys *keyring.Ring, found object.Found) (done learned, err error) {
	done = learned{Answered: found.Answered, Asked: found.Registrars}
	self, err := n.self(ctx, found.Records)
	if err != nil {
		return done, err
	}
	var failed []error
	logs := map[catalog.DeviceID]*deviceLog{}
	for _, r := range found.Records {
		if format.IsPost(r.Payload) {
			continue // it is for others
		}
		log := logs[r.Device]
		if log == nil {
			log = new(deviceLog)
			logs[r.Device] = log
			done.Devices++
		}
		block, err := format.OpenBlock(r.Payload, keys.Catalog)
		if errors.Is(err, errs.Integrity) {
			err = errs.New(errs.Decryption, "%w", err)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("record %d of the catalog: %w", r.Seq, err))
			continue
		}
		log.take(r, block)
		if r.Device == self {
			continue
		}
		from := catalog.Source{Device: r.Device, What: format.RecordKey(r).Digest}
		changed, err := n.learnFrom(ctx, from, func(do func(*format.LogBlock) error) error { return do(block) })
		done.Changed += changed
		failed = append(failed, err)
	}
	for device, log := range logs {
		done.Missing += log.missing()
		for _, run := range log.runs {
			if device == self {
				break
			}
			done.runs = append(done.runs, run.Object)
			changed, err := n.learnFrom(ctx, catalog.Source{Device: device, What: run.Object}, func(do func(*format.LogBlock) error) error {
				return n.readRun(ctx, l, run.Object, do)
			})
			done.Changed += changed
			failed = append(failed, err)
		}
	}
	n.settle(ctx, l)
	return done, errors.Join(failed...)
}

// settle has the mesh bring back what a device has deleted, and another has said
// something of later, without knowing: that holds, and the object is listed. One
// that is gone for good is deleted here, too. What cannot be settled is tried again
// when something is learnt.
func (n *Node) settle(ctx context.Context, l *link) {
	disputed, err := n.catalog.Disputed(ctx)
	if err == nil && len(disputed) > 0 && n.deleting.TryLock() { // else it is done by another time
		defer n.deleting.Unlock()
		for _, id := range disputed {
			err = errors.Join(err, n.settleOne(ctx, l, id))
		}
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("an object that is listed may still be deleted in the mesh", "error", err)
	}
}

func (n *Node) settleOne(ctx context.Context, l *link, id datamesh.ObjectID) error {
	word, err := l.objects.Word(ctx, id)
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return err
	}
	final := err == nil && word.Final()
	if !final { // also without a word on the manifest: the content is deleted before it, and by an id of before
		_, err = l.objects.Return(ctx, id)
	}
	if final || errors.Is(err, errs.Deleted) {
		if err = n.catalog.Delete(ctx, id, time.Now(), datamesh.Final, true); err == nil {
			err = n.catalog.Done(ctx, id)
		}
	}
	if err != nil && !errors.Is(err, errs.FileNotFound) {
		return err
	}
	return n.catalog.Settled(ctx, id)
}

// self returns the id of this device. If the mesh has what it never said it takes
// another one: its catalog is an old copy.
func (n *Node) self(ctx context.Context, records []*datamesh.Record) (catalog.DeviceID, error) {
	id, err := n.catalog.Device(ctx)
	for _, r := range records {
		if err != nil || r.Device != id {
			continue
		}
		renewed, err := n.catalog.IsOld(ctx, r.Device, r.Seq, format.EncodeRecord(r))
		if err != nil {
			return id, err
		}
		if renewed {
			n.log.Warn("another home goes by the id of this one, of which it may be an old copy: it takes a new one")
			return n.catalog.Device(ctx)
		}
	}
	return id, err
}

// A deviceLog is what the records of a device say of the others.
type deviceLog struct {
	head       uint64 // the last that names runs
	runs       []format.Run
	base, last uint64
	seen       map[uint64]bool
}

func (d *deviceLog) take(r *datamesh.Record, block *format.LogBlock) {
	if d.seen == nil {
		d.seen = map[uint64]bool{}
	}
	d.seen[r.Seq] = true
	d.base, d.last = max(d.base, r.Base), max(d.last, r.Seq)
	if len(block.Runs) > 0 && r.Seq > d.head {
		d.head, d.runs = r.Seq, block.Runs
	}
}

// missing counts the records that should be there, and are not.
func (d *deviceLog) missing() (n int) {
	for seq := d.base + 1; seq < d.last && n < maxMissing; seq++ {
		if !d.seen[seq] {
			n++
		}
	}
	return n
}

const maxMissing = 1000

// learnFrom learns from a source, unless that is known.
func (n *Node) learnFrom(ctx context.Context, from catalog.Source, read func(do func(*format.LogBlock) error) error) (changed int, err error) {
	if known, err := n.catalog.Knows(ctx, from); err != nil || known {
		return 0, err
	}
	err = read(func(block *format.LogBlock) error {
		some, err := n.catalog.Learn(ctx, from.Device, block.Changes)
		changed += some
		return err
	})
	if err != nil {
		return changed, err
	}
	return changed, n.catalog.Met(ctx, from)
}

// readRun reads a run out of the mesh.
func (n *Node) readRun(ctx context.Context, l *link, id datamesh.ObjectID, do func(*format.LogBlock) error) error {
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := l.objects.Get(ctx, id, func(*format.Manifest) (io.Writer, int64, error) { return w, 0, nil })
		w.CloseWithError(err)
	}()
	err := catalog.ReadRun(r, do)
	r.CloseWithError(err)
	<-ended
	return err
}

// keepNames keeps the names of this home in the mesh, and those of its owner's
// other devices here, until the node is closed. A home of no owner has none.
func (n *Node) keepNames(l *link) {
	tick := time.NewTicker(namesPause)
	defer tick.Stop()
	said := false
	for minutes := 0; ; minutes++ {
		if err := n.locked(); err != nil {
			if !said {
				n.log.Warn("names are not kept in the mesh until this node knows the passphrase of the identity", "error", err)
			}
			said, minutes = true, -1 // once it is known, others are listened to at once
		} else if err := n.keepNamesOnce(n.ctx, l, minutes%learnPauses == 0); err != nil && n.ctx.Err() == nil {
			n.log.Warn("the names of what is stored could not be kept in the mesh", "error", err)
		}
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

const (
	namesPause  = time.Minute // after which a service sends what could not be sent
	learnPauses = 15          // of these, after which it asks what other devices have said
)

func (n *Node) keepNamesOnce(ctx context.Context, l *link, learn bool) error {
	if err := n.publish(ctx, l); err != nil {
		return err
	}
	shares := n.keepShares(ctx, l)
	if !learn {
		return shares
	}
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = n.learnNames(ctx, l, keys); err == nil {
		err = n.reconcile(ctx, l)
	}
	return errors.Join(shares, err)
}

// keepShares takes back what is over, ends revocations that were interrupted, and
// has the mesh keep the letters as they are to be now, of a home that has written
// any.
func (n *Node) keepShares(ctx context.Context, l *link) error {
	if l.net == nil {
		return nil
	}
	n.deleting.Lock()
	err := errors.Join(n.settleShares(ctx, l), n.finishRevocations(ctx, l))
	n.deleting.Unlock()
	return errors.Join(err, n.post(ctx, l, true))
}

// Hear learns what the user's other homes have said. It returns what the user
// should know if it cannot, or not all of it.
func (n *Node) Hear(ctx context.Context) (*Heard, error) {
	var h Heard
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return &h, nil // there is nobody who could have other homes
	}
	if err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil || l.net == nil {
		return &h, err
	}
	learned, err := n.learnNames(ctx, l, keys)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	h.Changed = learned.Changed
	if h.Partial = learned.Missing > 0 || err != nil && learned.Devices > 0; learned.Missing > 0 {
		h.Warnings = append(h.Warnings, fmt.Sprintf("%d records of what your homes have said are missing", learned.Missing))
	}
	if err != nil {
		h.Warnings = append(h.Warnings, "what your other homes have said last is not known: "+err.Error())
	}
	return &h, nil
}

// heardOf learns what other devices have said, in case that is what somebody asks
// for, and reports whether there was anybody to ask: whoever has looked before looks
// again then. Whether it was news does not tell, since what a node does by itself may
// have learnt it in between.
func (n *Node) heardOf(ctx context.Context) bool {
	keys, err := n.heldKeys()
	if err != nil {
		return false // there is nobody who could have other devices
	}
	l, err := n.connect(ctx)
	if err != nil || l.net == nil {
		return false
	}
	_, _ = n.learnNames(ctx, l, keys)
	return true
}
