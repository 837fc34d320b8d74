package store

import (
	"context"
	"errors"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/step"
)

// How the committer gathers changes. One that comes alone is committed at once.
const (
	maxBatch = 256 // changes of one transaction

	// A batch of so many is a crowd: the next one waits until as many have come, and
	// on while they come that fast, but no longer than patience. A crowd is forgotten
	// when nothing has come for a time.
	crowd    = 4
	pause    = time.Millisecond
	patience = 20 * time.Millisecond
	recent   = 100 * time.Millisecond
)

// A change is one thing to be done to the index and the files.
type change struct {
	// stage does it, as part of a batch, and is called again when the batch
	// could not be committed. Its error is that of this change alone; what
	// befalls the batch as a whole the batch knows itself.
	stage func(*batch) error
	frees bool // it removes things, and may use the spare room

	segment datamesh.SegmentID // of the shard that it stores; zero: it stores none

	err  error
	done chan struct{} // closed when err is final
}

// commit has a change made and waits until it is durable. It does not watch a
// context: what a change refers to is the caller's, and the wait is that of
// one or two syncs.
func (d *Disk) commit(stage func(*batch) error) error { return d.wait(&change{stage: stage}) }

func (d *Disk) wait(c *change) error {
	c.done = make(chan struct{})
	d.changes <- c
	<-c.done
	return c.err
}

// commitAll is the one writer: it commits all changes that are waiting as one
// batch, so that those in flight together share a sync.
func (d *Disk) commitAll() {
	defer close(d.committed)
	last, ended := 0, time.Now()
	for first := range d.changes {
		changes := d.gather(first, last, ended)
		last = callers(changes)
		if d.apply(changes) != nil {
			for _, c := range changes { // let no change suffer for another
				d.applyAlone(c, len(changes) > 1)
			}
		}
		for _, c := range changes {
			close(c.done)
		}
		ended = time.Now()
	}
}

// callers counts for how many puts and others the changes are: one put may send all
// shards of a segment to the same store, one after the other.
func callers(changes []*change) (n int) {
	for i, c := range changes {
		if i == 0 || c.segment == (datamesh.SegmentID{}) || c.segment != changes[i-1].segment {
			n++
		}
	}
	return n
}

// applyAlone makes one change of a batch that failed, if that is another try:
// when it had company, or can be given the spare room.
func (d *Disk) applyAlone(c *change, again bool) {
	if again {
		d.apply([]*change{c})
	}
	if !c.frees || !errors.Is(c.err, errs.Full) || !d.giveSpare() {
		return
	}
	d.index.conn.ExecContext(context.Background(), `PRAGMA wal_checkpoint(PASSIVE)`) // to begin the log anew
	d.apply([]*change{c})
	d.makeSpare()
}

// gather returns first and what else waits already, and, if the batch before, for
// last callers, was a crowd, what a moment brings.
func (d *Disk) gather(first *change, last int, ended time.Time) []*change {
	changes := []*change{first}
	began := time.Now()
	alone := last < crowd || began.Sub(ended) >= recent
	for len(changes) < maxBatch {
		select {
		case c, ok := <-d.changes:
			if !ok {
				return changes
			}
			changes = append(changes, c)
			continue
		default:
		}
		wait := patience - time.Since(began)
		if callers(changes) >= last {
			wait = min(wait, pause)
		}
		if alone || wait <= 0 {
			return changes
		}
		select {
		case c, ok := <-d.changes:
			if !ok {
				return changes
			}
			changes = append(changes, c)
		case <-time.After(wait):
			return changes
		}
	}
	return changes
}

// apply makes the changes in one transaction, and sets the error of each.
func (d *Disk) apply(changes []*change) error {
	b := &batch{index: d.index, placed: make(map[string]string), gone: make(map[string]*change)}
	b.exec(`BEGIN IMMEDIATE`)
	for _, c := range changes {
		b.now = c
		c.err = c.stage(b)
	}
	step.At("store: commit: the rows are written, the files have their names")
	b.syncDirs()
	step.At("store: commit: the folders are synced")
	b.exec(`COMMIT`)
	if b.err != nil {
		b.undo()
		for _, c := range changes {
			c.err = b.err
		}
		return b.err
	}
	step.At("store: commit: the rows are durable")
	b.removeGone()
	if d.events.Committed != nil {
		d.events.Committed(len(changes))
	}
	return nil
}
