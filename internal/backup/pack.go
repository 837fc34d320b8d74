package backup

import (
	"context"
	"errors"
	"io"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/node"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // the algorithm
)

// algorithm is FastCDC (Xia et al. 2020) with masks that fit the average and, as
// it is given a key, a table of the owner's own. What the module calls kfastcdc
// has the masks of 8 KiB, whatever the average.
const algorithm = "fastcdc-v1.0.0"

// A cutter cuts one reader after the other into chunks.
type cutter struct {
	*chunkers.Chunker
}

func (a *Archive) newCutter() (*cutter, error) {
	c, err := chunkers.NewChunker(algorithm, nil, &chunkers.ChunkerOpts{
		MinSize: a.limits.least, NormalSize: a.limits.average, MaxSize: a.limits.most, Key: a.keys.Cuts[:]})
	if err != nil {
		return nil, errs.New(errs.Backup, "cut content: %w", err)
	}
	return &cutter{c}, nil
}

// cut calls take with each chunk of what r has. Kinds: those of r and take.
func (c *cutter) cut(r io.Reader, take func([]byte) error) error {
	c.Reset(r)
	for {
		chunk, err := c.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if len(chunk) > 0 {
			if err := take(chunk); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// A packer puts chunks into packs: one is filled while the one before is put to
// its end.
type packer struct {
	a     *Archive
	ctx   context.Context
	stop  context.CancelCauseFunc
	table *table
	slots chan struct{} // one for each pack that is not at its end
	wg    sync.WaitGroup
	open  *pack // the one that is filled, or nil

	mu     sync.Mutex // guards the rest
	moving map[[32]byte]format.ChunkRef
	bytes  int64 // of all packs that were put
	err    error // the first
}

// A pack is one on its way.
type pack struct {
	place  int // among those of the snapshot
	w      *io.PipeWriter
	size   int64
	chunks []packed
}

// A table is that of the packs of a snapshot.
type table struct {
	mu    sync.Mutex // guards the rest
	ids   []datamesh.ObjectID
	known map[int64]int // place by the number in the index
}

// reserve returns the place of a pack that has no id yet.
func (t *table) reserve() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids = append(t.ids, datamesh.ObjectID{})
	return len(t.ids) - 1
}

func (t *table) set(place int, id datamesh.ObjectID, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids[place], t.known[n] = id, place
}

// place returns the place of a pack of the index.
func (t *table) place(ctx context.Context, x *index, n int64) (int, error) {
	t.mu.Lock()
	place, ok := t.known[n]
	t.mu.Unlock()
	if ok {
		return place, nil
	}
	ids, err := x.ids(ctx, `SELECT id FROM pack WHERE n = ?`, n)
	if err != nil {
		return 0, err
	}
	if len(ids) != 1 {
		return 0, errs.New(errs.Database, "%s: there is no pack %d", x.path, n)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids = append(t.ids, ids[0])
	t.known[n] = len(t.ids) - 1
	return len(t.ids) - 1, nil
}

func (a *Archive) newPacker(ctx context.Context, t *table) *packer {
	p := &packer{a: a, table: t, slots: make(chan struct{}, a.limits.puts), moving: map[[32]byte]format.ChunkRef{}}
	p.ctx, p.stop = context.WithCancelCause(ctx)
	return p
}

// add returns where a chunk is: where it was before, or in a pack to which it is
// added.
func (p *packer) add(b []byte) (ref format.ChunkRef, err error) {
	id := hash.Keyed(p.a.keys.IDs, b)
	p.mu.Lock()
	ref, moving := p.moving[id]
	p.mu.Unlock()
	if moving {
		return ref, p.failed()
	}
	c, ok, err := p.a.index.find(p.ctx, id)
	if err != nil {
		return ref, p.cause(err)
	}
	if ok && c.length == len(b) {
		place, err := p.table.place(p.ctx, p.a.index, c.pack)
		return format.ChunkRef{Pack: place, Offset: c.offset, Length: c.length, ID: id}, err
	}
	if p.open == nil {
		if err := p.begin(); err != nil {
			return ref, err
		}
	}
	k := p.open
	if _, err := k.w.Write(b); err != nil {
		return ref, p.cause(err)
	}
	ref = format.ChunkRef{Pack: k.place, Offset: k.size, Length: len(b), ID: id}
	p.mu.Lock()
	p.moving[id] = ref
	p.mu.Unlock()
	k.chunks = append(k.chunks, packed{id, k.size, len(b)})
	k.size += int64(len(b))
	if k.size >= int64(p.a.limits.pack) || len(k.chunks) >= p.a.limits.chunks {
		p.end()
	}
	return ref, nil
}

// begin opens a pack, once the one before the last is put.
func (p *packer) begin() error {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return p.cause(p.ctx.Err())
	}
	if err := p.failed(); err != nil {
		return err
	}
	r, w := io.Pipe()
	k := &pack{place: p.table.reserve(), w: w}
	p.open = k
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		stored, err := p.a.mesh.Put(p.ctx, r, node.PutOptions{Type: format.PackType})
		if err == nil {
			err = p.stored(k, stored)
		}
		if err != nil {
			p.fail(err)
			r.CloseWithError(err)
		}
	})
	return nil
}

// end closes the pack that is open.
func (p *packer) end() {
	if p.open != nil {
		p.open.w.Close()
		p.open = nil
	}
}

// stored notes a pack that the mesh has.
func (p *packer) stored(k *pack, stored *node.Stored) error {
	if stored.Size != k.size {
		return errs.New(errs.Integrity, "a pack has %d bytes, not %d", stored.Size, k.size)
	}
	n, err := p.a.index.addPack(p.ctx, stored.ID, k.size, p.a.now(), k.chunks)
	if err != nil {
		return err
	}
	p.table.set(k.place, stored.ID, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += k.size
	for _, c := range k.chunks {
		delete(p.moving, c.id)
	}
	return nil
}

func (p *packer) fail(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	p.mu.Unlock()
	p.stop(err)
}

func (p *packer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// cause returns why a pack could not be put, if that is behind an error.
func (p *packer) cause(err error) error {
	if failed := p.failed(); failed != nil {
		return failed
	}
	if errors.Is(err, context.Canceled) {
		if cause := context.Cause(p.ctx); cause != nil {
			return cause
		}
	}
	return err
}

// wait ends the last pack, and waits until all are put.
func (p *packer) wait() error {
	p.end()
	p.wg.Wait()
	return p.failed()
}

// abort gives up what is under way.
func (p *packer) abort(err error) {
	p.stop(err)
	if p.open != nil {
		p.open.w.CloseWithError(err)
		p.open = nil
	}
	p.wg.Wait()
}
