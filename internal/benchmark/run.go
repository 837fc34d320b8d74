package benchmark

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// An object is one that is put, and then got.
type object struct {
	number uint64 // of this run, by which its content is made
	name   string
	size   int64
	offset int64 // of the range of it that is read

	id     datamesh.ObjectID
	stored int64 // bytes of all shards; 0: it is not stored
}

// A sample is what one operation took.
type sample struct {
	whole time.Duration
	first time.Duration // until the first byte, of a get
}

// measure puts and gets the objects of each size, one size after the other.
func (b *Benchmark) measure(ctx context.Context, r *Result) error {
	next := uint64(0)
	for _, size := range b.opt.Sizes {
		objects := make([]object, b.opt.count(size))
		for i := range objects {
			objects[i] = object{number: next, name: b.run + strconv.FormatUint(next, 10), size: size}
			next++
		}
		s := Sized{Size: size, Get: Measured{FirstByte: new(Latency)}}
		err := b.phase(ctx, "put", size, objects, &s.Put, b.put)
		r.Bytes = plus(r.Bytes, s.Put.Bytes)
		for _, o := range objects {
			r.StoredBytes = plus(r.StoredBytes, o.stored)
		}
		if err == nil && b.opt.Range > 0 && objects[0].stored > 0 {
			s.Range, err = b.ranges(ctx, objects[0])
		} else if err == nil {
			objects = slices.DeleteFunc(objects, func(o object) bool { return o.stored == 0 })
			err = b.phase(ctx, "get", size, objects, &s.Get, b.get)
		}
		r.Sizes = append(r.Sizes, s)
		if err != nil {
			return err
		}
	}
	return nil
}

// phase does one operation with each object, as many at once as are asked for, and
// says in m what that took. Its error is one for which the benchmark ends.
func (b *Benchmark) phase(ctx context.Context, what string, size int64, objects []object, m *Measured, do func(context.Context, *object) (sample, error)) error {
	b.opt.Events.begin(what, size, len(objects))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards samples and m
	var samples []sample
	queue := make(chan *object)
	var workers sync.WaitGroup
	began := time.Now()
	for range min(b.opt.InFlight, len(objects)) {
		workers.Go(func() {
			for o := range queue {
				if ctx.Err() != nil {
					continue
				}
				s, err := do(ctx, o)
				mu.Lock()
				switch {
				case err == nil:
					samples = append(samples, s)
				case ctx.Err() == nil:
					if m.fail(err); general(err) {
						cancel(err)
					} else if m.Failures == maxFailures {
						cancel(errEnough)
					}
				}
				mu.Unlock()
				b.opt.Events.done()
			}
		})
	}
	for i := range objects {
		queue <- &objects[i]
	}
	close(queue)
	workers.Wait()
	m.conclude(samples, size, began)
	if err := context.Cause(ctx); err != errEnough {
		return err
	}
	return nil
}

var errEnough = errors.New("enough has failed")

// general reports whether an error is none of one object, so that all others would
// only fail likewise.
func general(err error) bool {
	return slices.ContainsFunc([]errs.Kind{errs.NoNode, errs.Full, errs.KeyManagement, errs.Authentication, errs.Decryption, errs.Database, errs.Configuration},
		func(k errs.Kind) bool { return errors.Is(err, k) })
}

func (b *Benchmark) put(ctx context.Context, o *object) (s sample, err error) {
	b.note(o.name)
	began := time.Now()
	stored, err := b.mesh.Put(ctx, io.LimitReader(b.noise.of(o.number), o.size),
		node.PutOptions{Name: o.name, Type: MediaType, Size: o.size, Transfer: rand.Text()[:10]})
	s.whole = time.Since(began)
	if err != nil {
		return s, fmt.Errorf("put %s: %w", o.name, err)
	}
	o.id, o.stored = stored.ID, stored.StoredBytes
	b.note("", stored.Warnings...)
	return s, nil
}

// note notes that an object of a name may be stored, and warnings.
func (b *Benchmark) note(name string, warnings ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name != "" {
		b.begun[name] = true
	}
	for _, w := range warnings {
		if len(b.warnings) < maxWarnings && !slices.Contains(b.warnings, w) {
			b.warnings = append(b.warnings, w)
		}
	}
}

const maxWarnings = 16

// get reads an object back and compares it. Kind: Integrity, and those of the mesh.
func (b *Benchmark) get(ctx context.Context, o *object) (s sample, err error) {
	began := time.Now()
	c := &comparer{want: b.noise.of(o.number), left: o.size}
	_, err = b.mesh.Get(ctx, o.id.String(), node.GetOptions{}, func(info node.ObjectInfo) (io.Writer, error) {
		if info.Size != o.size || info.From != 0 {
			c.err = errs.New(errs.Integrity, "%d bytes from byte %d on are to come, and %d were put", info.Size, info.From, o.size)
		}
		return c, c.err
	})
	s.whole, s.first = time.Since(began), c.first.Sub(began)
	if err = c.verdict(err); err != nil {
		return s, fmt.Errorf("get %s: %w", o.name, err)
	}
	return s, nil
}
