package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A Holding says that a peer holds the shard of that index.
type Holding struct {
	Index int
	Peer  datamesh.PeerID
}

// A Found is what a registrar answers who is asked for a segment, and a shard that
// it holds itself, if that came along.
type Found struct {
	Descriptor *datamesh.Descriptor // of the segment; its signature was not checked
	Holdings   []Holding
	Index      int    // of the shard
	Shard      []byte // verified; nil: none came, or Wrong did
	Wrong      error  // what is wrong with the bytes that came as that shard
}

// A Report tells a registrar who holds what of a segment.
type Report struct {
	Descriptor *datamesh.Descriptor
	Holdings   []Holding
	Receipts   []*datamesh.Receipt // of those of the shards that were placed anew; who reports has checked them
}

// Report enters reports in the holder map, all in one transaction; when it
// returns nil they are durable. Of each index the map keeps the four peers
// reported last. Reports of segments that were deleted are left out and told
// of by an error of kind Deleted, which does not keep the others from being
// entered. Kinds: Deleted, Integrity (a descriptor or an index is wrong:
// nothing is entered), Unavailable, Full, Database.
func (d *Disk) Report(ctx context.Context, reports []Report) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := d.room.fitsDisk(0, claimed); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	descriptors := make([][]byte, len(reports))
	for i, r := range reports {
		var err error
		if descriptors[i], err = d.checkReport(r); err != nil {
			return err
		}
	}
	return d.commit(func(b *batch) error {
		var all []error
		for i, r := range reports {
			all = append(all, b.enter(r, descriptors[i]))
		}
		return errors.Join(all...)
	})
}

// takesRecords reports with an error of kind Full that there is no room for
// records on segments of which nothing is here.
func (d *Disk) takesRecords() error { return d.takesSome(1) }

// takesMoreRecords is as takesRecords, of records on what something is here of,
// but that anybody can make any number of.
func (d *Disk) takesMoreRecords() error { return d.takesSome(2) }

func (d *Disk) takesSome(shares int64) error {
	info, err := os.Stat(d.index.path)
	if err != nil {
		return errs.New(kindOf(err), "store: %w", err)
	}
	if err := d.room.fitsRecords(info.Size(), shares); !errors.Is(err, errs.Full) {
		return err
	}
	var empty int64 // as what an upgrade has left is at first
	if err := d.index.row(`SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size`, nil, &empty); err != nil {
		return errs.New(kindOf(err), "store: %w", err)
	}
	return d.room.fitsRecords(info.Size()-empty, shares)
}

// checkReport returns the encoded descriptor of a report.
func (d *Disk) checkReport(r Report) ([]byte, error) {
	was, err := d.known(datamesh.ShardKey{Segment: r.Descriptor.Segment})
	if err != nil {
		return nil, err
	}
	descriptor, err := authentic(r.Descriptor, was.descriptor)
	if err != nil {
		return nil, err
	}
	if was.descriptor == nil {
		if err := d.takesRecords(); err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
	}
	for _, h := range r.Holdings {
		if err := checkShape(r.Descriptor, h.Index, r.Descriptor.ShardLen()); err != nil {
			return nil, err
		}
	}
	return descriptor, nil
}

// enter enters a report.
func (b *batch) enter(r Report, descriptor []byte) error {
	segment := r.Descriptor.Segment
	if b.deleted(segment) {
		return errDeleted("report", segment)
	}
	if len(r.Holdings) == 0 {
		return nil
	}
	b.keepDescriptor(segment, descriptor)
	b.hold(segment, r.Holdings)
	b.receive(r)
	return nil
}

// hold enters holders of a segment that is known, the last of them as the one
// reported last.
func (b *batch) hold(segment datamesh.SegmentID, holdings []Holding) {
	was := b.holders(segment)
	now, numbers := was, make([]int64, len(holdings))
	for i, h := range holdings {
		numbers[i] = b.numbered(h.Peer)
		now = now.report(h.Index, numbers[i])
	}
	b.setHolders(segment, was, now)
	for i, h := range holdings {
		if now.find(h.Index, numbers[i]) < 0 { // too many came at once
			b.forgetPeer(numbers[i])
		}
	}
}

// Locate returns the descriptor of a segment and its holders, by index, those
// reported last first. There may be none, when the segment is known only by
// shards that are here. Kinds: FileNotFound (it is not known at all), Deleted,
// Integrity, Unavailable, Database.
func (d *Disk) Locate(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Descriptor, []Holding, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := d.enter(); err != nil {
		return nil, nil, err
	}
	defer d.leave()
	var descriptor, list []byte
	err := d.index.row(`SELECT descriptor, holders FROM segments WHERE segment = ?`, []any{segment[:]}, &descriptor, &list)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, d.nowhere(segment)
	}
	var holdings []Holding
	if err == nil {
		holdings, err = d.index.holdings(readHolders(list))
	}
	if err != nil {
		return nil, nil, errs.New(kindOf(err), "locate %s: %w", segment, err)
	}
	desc, err := format.DecodeDescriptor(descriptor)
	if err != nil {
		return nil, nil, errs.New(errs.Integrity, "locate %s: %w", segment, err)
	}
	return desc, holdings, nil
}

// nowhere tells why nothing is known of a segment.
func (d *Disk) nowhere(segment datamesh.SegmentID) error {
	k, err := d.known(datamesh.ShardKey{Segment: segment})
	if err == nil && k.deleted {
		return errDeleted("locate", segment)
	}
	return errs.New(errs.FileNotFound, "locate %s: no such segment here", segment)
}
