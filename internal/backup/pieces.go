package backup

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"

	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A target is a file that is on its way. Its pieces come in the order of packs.
type target struct {
	item
	f    *tree.File // nil: nothing is written, or it has failed
	left int        // pieces that are yet to come
	err  error      // why it has failed
}

// A piece is where a part of a pack goes.
type piece struct {
	offset int64
	length int
	id     [32]byte
	entry  int64
	at     int64
}

// pieces are those of one pack, on their way.
type pieces struct {
	r     *restore
	place int
	at    int64 // bytes of the pack that were read
	last  piece // that was restored
	some  bool  // whether one was
	buf   []byte
}

// piecesAtOnce is how many are taken out of the plan at once.
const piecesAtOnce = 1000

// next returns the pieces after the last.
func (p *pieces) next(ctx context.Context) (list []piece, err error) {
	err = p.r.each(ctx, func(rows *sql.Rows) error {
		var x piece
		var id []byte
		if err := rows.Scan(&x.offset, &x.length, &id, &x.entry, &x.at); err != nil {
			return err
		}
		copy(x.id[:], id)
		list = append(list, x)
		return nil
	}, `SELECT offset, length, id, entry, at FROM piece WHERE pack = ?1 AND (NOT ?2 OR (offset, entry, at) > (?3, ?4, ?5)) ORDER BY offset, entry, at LIMIT ?6`,
		p.place, p.some, p.last.offset, p.last.entry, p.last.at, piecesAtOnce)
	return list, err
}

// enough is how many bytes of a pack may be left unread.
const enough = 4 << 20

// take restores what comes of a pack.
func (p *pieces) take(ctx context.Context, content io.Reader) error {
	var held piece // whose bytes are in the buffer, and are what they should be
	for {
		list, err := p.next(ctx)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for _, x := range list {
			if !p.some || x.offset != held.offset || x.length != held.length || x.id != held.id {
				if err := p.chunk(content, x); err != nil {
					return err
				}
				held = x
			}
			if err := p.r.piece(ctx, x, p.buf); err != nil {
				return err
			}
			p.last, p.some = x, true
		}
	}
	if p.r.w == nil {
		_, err := io.Copy(io.Discard, content)
		return err
	}
	_, err := io.CopyN(io.Discard, content, enough)
	if err == io.EOF {
		err = nil
	}
	return err
}

// chunk reads a chunk, and sees that it is the one. Kind: Integrity.
func (p *pieces) chunk(content io.Reader, x piece) error {
	if x.offset < p.at {
		return errs.New(errs.Integrity, "the snapshot has chunks that overlap, at %d", x.offset)
	}
	if _, err := io.CopyN(io.Discard, content, x.offset-p.at); err != nil {
		return short(err)
	}
	p.buf = slices.Grow(p.buf[:0], format.MaxChunk)[:x.length]
	if _, err := io.ReadFull(content, p.buf); err != nil {
		return short(err)
	}
	p.at = x.offset + int64(x.length)
	if hash.Keyed(p.r.key, p.buf) != x.id {
		return errs.New(errs.Integrity, "the chunk at %d is not the one that the snapshot means", x.offset)
	}
	return nil
}

func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errs.New(errs.Integrity, "it is shorter than the snapshot says")
	}
	return err
}

// fail tells of the files that need what is left of a pack.
func (p *pieces) fail(ctx context.Context, why error) error {
	for {
		list, err := p.next(ctx)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, x := range list {
			t, err := p.r.target(ctx, x.entry)
			if err != nil {
				return err
			}
			t.fail(why)
			p.r.done(t)
			p.last, p.some = x, true
		}
	}
}

// target returns a file that is on its way, and begins it if it is not. One that
// cannot be begun has failed.
func (r *restore) target(ctx context.Context, n int64) (*target, error) {
	if t := r.open[n]; t != nil {
		return t, nil
	}
	t := new(target)
	err := r.each(ctx, func(rows *sql.Rows) (err error) {
		t.item, err = r.scan(rows)
		return err
	}, itemColumns+`WHERE n = ?`, n)
	if err != nil {
		return nil, err
	}
	t.left = t.pieces
	r.open[n] = t
	if r.w == nil {
		return t, nil
	}
	f, err := r.w.File(t.entry)
	if err != nil {
		t.fail(err)
		return t, nil
	}
	t.f = f
	r.wake(t)
	return t, nil
}

// fail gives a file up.
func (t *target) fail(err error) {
	if t.err == nil {
		t.err = err
	}
	if t.f != nil {
		t.f.Abort()
		t.f = nil
	}
}

// maxAwake is how many files that are on their way have a descriptor.
const maxAwake = 64

// wake has a file that is written to among those that have a descriptor.
func (r *restore) wake(t *target) {
	if slices.Contains(r.awake, t) {
		return
	}
	if len(r.awake) >= maxAwake {
		if first := r.awake[0]; first.f != nil {
			if err := first.f.Rest(); err != nil {
				first.fail(err)
			}
		}
		r.awake = slices.Delete(r.awake, 0, 1)
	}
	r.awake = append(r.awake, t)
}

// piece writes a piece to where it goes.
func (r *restore) piece(ctx context.Context, x piece, b []byte) error {
	t, err := r.target(ctx, x.entry)
	if err != nil {
		return err
	}
	if t.f != nil {
		r.wake(t)
		if _, err := t.f.WriteAt(b, x.at); err != nil {
			if errs.KindOf(err) == errs.Full {
				return fmt.Errorf("%s: %w", t.entry.Path, err) // the others would not fit either
			}
			t.fail(err)
		}
	}
	r.a.Events.done(0, int64(x.length))
	r.done(t)
	return nil
}

// done notes that a piece of a file has come, and gives the file its name if it
// was the last.
func (r *restore) done(t *target) {
	if t.left--; t.left > 0 {
		return
	}
	r.a.Events.done(1, 0)
	delete(r.open, t.n)
	if i := slices.Index(r.awake, t); i >= 0 {
		r.awake = slices.Delete(r.awake, i, i+1)
	}
	if t.f != nil && t.err == nil {
		t.err = t.f.Commit()
	}
	if t.err == nil {
		r.result.Bytes += t.entry.Size
	}
	r.count(&r.result.Files, t.entry, t.err)
}

// abort gives up all files that are on their way.
func (r *restore) abort() {
	for _, t := range r.open {
		t.fail(errs.New(errs.Other, "the restore has ended"))
	}
}

// bad notes what was rebuilt.
func (r *restore) bad(f *node.Fetched) {
	if f != nil {
		r.result.Bad = append(r.result.Bad, f.Bad[:min(len(f.Bad), maxBad-len(r.result.Bad))]...)
	}
}
