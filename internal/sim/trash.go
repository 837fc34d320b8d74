package sim

import (
	"context"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Drop removes a segment on its owner's word, and keeps that.
func (d *Disk) Drop(ctx context.Context, del *datamesh.Deletion) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	got, err := format.DecodeDeletion(format.EncodeDeletion(del))
	if err != nil || got.Descriptor.Segment != del.Descriptor.Segment {
		return errs.New(errs.Authentication, "drop %s: not its owner's word: %w", del.Descriptor.Segment, err)
	}
	segment := del.Descriptor.Segment
	d.mu.Lock()
	was := d.words[segment]
	d.mu.Unlock()
	if was != nil && was.Generation >= del.Generation || del.Generation == 0 {
		return nil
	}
	d.mu.Lock()
	d.words[segment] = del
	d.mu.Unlock()
	if !del.Gone() {
		return d.undelete(del.Descriptor)
	}
	if err := d.Forget(ctx, []datamesh.SegmentID{segment}); err != nil {
		return err
	}
	for i := range del.Descriptor.Shards {
		d.discard(datamesh.ShardKey{Segment: segment, Index: i}, del.Final())
	}
	return nil
}

// discard moves a shard to the trash, or removes it for ever.
func (d *Disk) discard(key datamesh.ShardKey, final bool) {
	d.mu.Lock()
	x := d.shards[key]
	d.mu.Unlock()
	taken := d.take(key)
	d.mu.Lock()
	if taken && !final {
		d.used += int64(len(x.bytes))
		d.trash[key] = x
	}
	if x := d.trash[key]; x != nil && final {
		d.used -= int64(len(x.bytes))
		delete(d.trash, key)
	}
	d.mu.Unlock()
	if taken && d.moved != nil {
		d.moved(key, false)
	}
}

// undelete brings back what is in the trash of a segment.
func (d *Disk) undelete(desc *datamesh.Descriptor) error {
	for i := range desc.Shards {
		key := datamesh.ShardKey{Segment: desc.Segment, Index: i}
		back, err := d.restore(desc, key)
		if err != nil {
			return err
		}
		if back && d.moved != nil {
			d.moved(key, true)
		}
	}
	return nil
}

func (d *Disk) restore(desc *datamesh.Descriptor, key datamesh.ShardKey) (back bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.trash[key]
	if x == nil {
		return false, nil
	}
	r, err := d.know(desc)
	if err != nil {
		return false, err
	}
	delete(d.trash, key)
	r.shards++
	d.shards[key], d.keys = x, nil
	return true, nil
}

// Words returns the owners' words that are kept, in the order of their segments.
func (d *Disk) Words(ctx context.Context, after datamesh.SegmentID, limit int) (list []*datamesh.Deletion, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for segment, word := range d.words {
		if compareSegments(segment, after) > 0 {
			list = append(list, word)
		}
	}
	slices.SortFunc(list, func(a, b *datamesh.Deletion) int {
		return compareSegments(a.Descriptor.Segment, b.Descriptor.Segment)
	})
	return list[:min(max(limit, 0), len(list))], nil
}

// Deletion returns the last word on a segment.
func (d *Disk) Deletion(ctx context.Context, segment datamesh.SegmentID) (*datamesh.Deletion, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if word := d.words[segment]; word != nil {
		return word, nil
	}
	return nil, errs.New(errs.FileNotFound, "deletion of %s: none is known", segment)
}

// ForgetWords forgets words, unless a higher generation has come, or something
// that is here, or in the trash, belongs to them.
func (d *Disk) ForgetWords(ctx context.Context, words []*datamesh.Deletion) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range words {
		segment := w.Descriptor.Segment
		used := false
		for i := range w.Descriptor.Shards {
			key := datamesh.ShardKey{Segment: segment, Index: i}
			used = used || d.trash[key] != nil || d.shards[key] != nil
		}
		if was := d.words[segment]; was != nil && was.Generation == w.Generation && !used {
			delete(d.words, segment)
		}
	}
	return nil
}
