// Package benchmark measures a mesh as its user meets it: it puts objects of
// random bytes in the normal way, gets them back, compares every byte, and
// deletes them.
//
// Nothing is left out for speed: what is measured is sealed, coded, verified,
// synced and named like all that is put. Its objects have a media type and names
// of their own. Whatever they were put by, they are deleted for good in the end,
// also when that is interrupted or fails; what a benchmark that was killed has
// left behind, the next one of its home deletes. Callers see that one at a time
// runs in a home: see [Lock].
package benchmark

import (
	"context"
	"crypto/rand"
	"io"
	"slices"
	"strings"
	"sync"

	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// Prefix begins the names of all objects of benchmarks, which are of type
// MediaType. It is followed by the home and the run that they are of.
const (
	Prefix    = ".datamesh-benchmark/"
	MediaType = "application/vnd.datamesh.benchmark"
)

// Limits of a benchmark.
const (
	MaxInFlight = 128
	MaxCount    = 10_000 // objects of one size: of each the catalog keeps a word
	MaxSizes    = 16

	defaultBytes  = 256 << 20 // of content of one size
	fewestDefault = 4
	mostDefault   = 100

	maxFailures = 100 // after which a direction of a size is given up
)

// A Mesh is what a benchmark needs of a node: see [api.Operations].
type Mesh interface {
	Identity(ctx context.Context) (node.Identity, error)
	Plan(ctx context.Context, o node.PutOptions) (*node.Planned, error)
	Peers(ctx context.Context) (*node.Peers, error)
	Stats(ctx context.Context) (*node.Stats, error)
	Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error)
	Get(ctx context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error)
	List(ctx context.Context, o node.ListOptions, each func(node.Object) error) error
	Hear(ctx context.Context) (*node.Heard, error)
	Delete(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error)
	Deleted(ctx context.Context) (*node.DeletedObjects, error)
	Transfers(ctx context.Context, id string) (*node.Transfers, error)
	Metrics(ctx context.Context) (*node.Metrics, error)
}

// Options say what is measured.
type Options struct {
	Sizes    []int64 // of the objects, in bytes
	Count    int     // of objects of each size; 0: as many as have 256 MiB together, from 4 to 100
	InFlight int     // puts, and later gets, at once; 0 is 1
	Range    int64   // not 0: of one object of each size so many bytes are read at a time, Count times (0: 1,000), and again
	Events   Events
}

// Events tell how a benchmark goes on. Nil ones are not called.
type Events struct {
	Begin func(what string, size int64, of int) // so many operations: "put", "get", or "delete", which has no size
	Done  func()                                // one of them has ended; from many goroutines at once
}

func (e *Events) begin(what string, size int64, of int) {
	if e.Begin != nil {
		e.Begin(what, size, of)
	}
}

func (e *Events) done() {
	if e.Done != nil {
		e.Done()
	}
}

// A Benchmark is one run. It is used once.
type Benchmark struct {
	mesh  Mesh
	opt   Options
	home  string // begins the names of all objects of this home
	run   string // begins those of this run
	noise *noise

	mu       sync.Mutex      // guards the rest
	begun    map[string]bool // names of objects that may be stored
	warnings []string        // of puts, each once
}

// New returns a benchmark of a mesh. Kinds: Invalid, and those of the mesh.
func New(ctx context.Context, mesh Mesh, o Options) (*Benchmark, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.InFlight = max(o.InFlight, 1)
	self, err := mesh.Identity(ctx)
	if err != nil {
		return nil, err
	}
	peer := self.PeerID.String() // of this home, whether a node of it runs or not
	home := Prefix + peer[len(peer)-8:] + "/"
	return &Benchmark{mesh: mesh, opt: o, home: home, run: home + strings.ToLower(rand.Text()[:8]) + "/", noise: newNoise(), begun: map[string]bool{}}, nil
}

func (o *Options) check() error {
	switch {
	case len(o.Sizes) == 0 || len(o.Sizes) > MaxSizes:
		return errs.New(errs.Invalid, "a benchmark has from 1 to %d sizes, not %d", MaxSizes, len(o.Sizes))
	case o.InFlight < 0 || o.InFlight > MaxInFlight:
		return errs.New(errs.Invalid, "from 1 to %d may be in flight, not %d", MaxInFlight, o.InFlight)
	case o.Count < 0 || o.Count > MaxCount:
		return errs.New(errs.Invalid, "from 1 to %d objects of a size can be measured, not %d", MaxCount, o.Count)
	case o.Range < 0:
		return errs.New(errs.Invalid, "a range of %d bytes", o.Range)
	}
	for i, size := range o.Sizes {
		if size < 1 {
			return errs.New(errs.Invalid, "an object of %d bytes takes no time", size)
		}
		if slices.Contains(o.Sizes[:i], size) {
			return errs.New(errs.Invalid, "the size of %d bytes is there twice", size)
		}
	}
	return nil
}

// count returns how many objects of a size are put.
func (o *Options) count(size int64) int {
	if o.Range > 0 {
		return 1
	}
	if o.Count > 0 {
		return o.Count
	}
	return int(min(max(defaultBytes/size, fewestDefault), mostDefault))
}

// A Plan is what a benchmark will store.
type Plan struct {
	Objects     int
	Bytes       int64 // of content
	StoredBytes int64 // of all shards on all peers
	Free        int64 // on all members that live
}

// TooMuch reports whether that is more than half of what is free: the members
// have not the same room, and others store as well.
func (p Plan) TooMuch() bool { return p.StoredBytes > p.Free/2 }

// Plan returns what Run will store, and stores nothing. Kinds: those of the mesh.
func (b *Benchmark) Plan(ctx context.Context) (Plan, error) {
	var p Plan
	var err error
	if p.Free, err = b.free(ctx); err != nil {
		return p, err
	}
	for _, size := range b.opt.Sizes {
		stored := size
		if size < p.Free { // else it is too much anyhow, and may be more than can be planned
			one, err := b.mesh.Plan(ctx, node.PutOptions{Size: size})
			if err != nil {
				return p, err
			}
			stored = one.StoredBytes
		}
		n := b.opt.count(size)
		p.Objects += n
		p.Bytes = plus(p.Bytes, times(size, n))
		p.StoredBytes = plus(p.StoredBytes, times(stored, n))
	}
	return p, nil
}

// free returns how many bytes are free on the members that live.
func (b *Benchmark) free(ctx context.Context) (free int64, err error) {
	peers, err := b.mesh.Peers(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range peers.Peers {
		if p.State != "dead" {
			free = plus(free, max(p.Capacity-p.Used, 0))
		}
	}
	stats, err := b.mesh.Stats(ctx)
	if err == nil && stats.Store != nil {
		free = plus(free, max(stats.Store.Free, 0))
	}
	return free, err
}

// plus and times count bytes, and stop at what can be counted.
func plus(a, b int64) int64 {
	if a > most-b {
		return most
	}
	return a + b
}

func times(a int64, n int) int64 {
	if n > 0 && a > most/int64(n) {
		return most
	}
	return a * int64(n)
}

const most = 1<<63 - 1

// Run measures, and deletes what it has put, also when ctx has ended, or when it
// fails. The result is there with an error, too, and is that of what was
// measured. Kinds: as [node.Node.Put] and [node.Node.Get], of what fails
// whichever object it is; what failed of one is in the result.
func (b *Benchmark) Run(ctx context.Context) (*Result, error) {
	r := &Result{InFlight: b.opt.InFlight, Sizes: []Sized{}}
	r.Swept, _ = b.sweep(ctx) // what cannot be deleted is tried again, and told of, in the end
	err := b.measure(ctx, r)
	_, r.Left = b.sweep(context.WithoutCancel(ctx))
	r.Warnings = b.warnings
	return r, err
}
