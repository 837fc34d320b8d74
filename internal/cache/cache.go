// Package cache keeps what was read lately of objects, so that it need not come from
// the mesh again: opened frames and manifests in memory, and sealed frames on the disk.
//
// Nothing is kept that was not authenticated when it came, no content lies open on the
// disk, and what comes from there is authenticated again. Both tiers are bounded in
// bytes, and keep what is read often rather than what was read last (W-TinyLFU), so that
// what is read once, however much, does not push it out. All of it may be lost at any
// time. What must not be served any more its callers say.
package cache

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"

	"github.com/maypok86/otter/v2"
)

// A Frame names one frame of a segment as a manifest has it. Whoever has another key,
// or takes the segment for longer or shorter, names another frame.
type Frame struct {
	Segment datamesh.SegmentID
	Key     crypt.Key
	Index   int
	Length  int // bytes of content
	Last    bool
}

// An Object is an opened manifest, with the segments of the content, which are in it or
// in a list of their own. It is shared and not to be changed.
type Object struct {
	Manifest *format.Manifest
	Segments []format.SegmentRef
	Peers    []datamesh.PeerID
}

// A Reader is by whose keys a manifest was opened.
type Reader struct {
	Owner             datamesh.OwnerKey
	Epoch, Identities int
}

// objectTTL is for how long a manifest is kept: what others have deleted, or taken back,
// can be read so long as it was read before.
const objectTTL = 30 * time.Second

// objectShare is the share of the memory that manifests have.
const objectShare = 8

// overhead is about what an entry takes beside its bytes.
const overhead = 256

// Where something was found, in [Events].
const (
	Memory   = "memory"
	Disk     = "disk"
	Manifest = "manifest"
)

// Events tells what happens. Any of its functions may be nil. They are called by many
// goroutines at once, and must not block.
type Events struct {
	Found   func(where string) // a frame in Memory or on Disk, or a Manifest
	Missed  func(where string) // a frame on Disk, and so anywhere, once it is there; or a Manifest
	Damaged func()             // a file, which was removed
	Full    func(err error)    // the disk, if that is the kind of the error, or no file can be written: all were removed
}

// Options say how much is kept. What is 0 is not.
type Options struct {
	Memory int64 // bytes
	Disk   int64 // bytes of files, each counted as whole blocks
	Dir    string
	TTL    time.Duration // from when something was read last; at most so long it is kept
	Events Events

	// Room tells with an error that the disk, of which the cache itself uses some bytes, has
	// none to spare. It may be nil.
	Room func(used int64) error
}

// A Cache is safe for concurrent use. A nil one is empty and stays so.
type Cache struct {
	events  Events
	frames  *otter.Cache[name, opened]            // nil: there is no memory, as is objects
	objects *otter.Cache[datamesh.ObjectID, read] // likewise
	disk    *disk                                 // nil: there is none

	forgotten atomic.Int64 // how often something was, by Forget or Lock

	mu    sync.Mutex // guards turns
	turns map[Frame]chan struct{}
}

// A name is what a frame is kept under, whoever has what key.
type name struct {
	segment datamesh.SegmentID
	index   int
}

func (f *Frame) name() name { return name{f.Segment, f.Index} }

// An opened frame is kept with what it was opened as.
type opened struct {
	as   Frame
	text []byte
}

// A read object is kept with who has opened it.
type read struct {
	by     Reader
	object *Object
}

// New returns a cache that has nothing in memory, and what is in its directory, which it
// makes. The caller calls Run, for what goes on beside, and then Close. Without a tier, or
// with a TTL of 0, it is nil. Kinds: IO, Full.
func New(o Options) (*Cache, error) {
	if o.TTL <= 0 || o.Memory <= 0 && o.Disk <= 0 {
		return nil, nil
	}
	c := &Cache{events: o.Events, turns: map[Frame]chan struct{}{}}
	if o.Disk > 0 {
		var err error
		if c.disk, err = openDisk(o, &c.forgotten); err != nil {
			return nil, err
		}
	}
	if o.Memory > 0 {
		objects := o.Memory / objectShare
		c.frames = otter.Must(&otter.Options[name, opened]{
			MaximumWeight:    uint64(o.Memory - objects),
			Weigher:          func(_ name, x opened) uint32 { return uint32(len(x.text) + overhead) },
			ExpiryCalculator: otter.ExpiryAccessing[name, opened](o.TTL),
			Executor:         inline,
		})
		c.objects = otter.Must(&otter.Options[datamesh.ObjectID, read]{
			MaximumWeight:    uint64(max(objects, 1)),
			Weigher:          func(_ datamesh.ObjectID, x read) uint32 { return x.object.weight() },
			ExpiryCalculator: otter.ExpiryWriting[datamesh.ObjectID, read](min(o.TTL, objectTTL)),
			Executor:         inline,
		})
	}
	return c, nil
}

// inline has a tier be within its bounds when a change of it returns.
func inline(do func()) { do() }

// weight is about how many bytes an object takes.
func (o *Object) weight() uint32 {
	n := overhead + int64(unsafe.Sizeof(*o.Manifest)) + int64(len(o.Manifest.Inline)) + int64(len(o.Peers)+len(o.Manifest.Peers))*int64(len(datamesh.PeerID{}))
	for _, refs := range [][]format.SegmentRef{o.Segments, o.Manifest.List} {
		for i := range refs {
			n += int64(unsafe.Sizeof(refs[i])) + 4*int64(len(refs[i].Hints))
		}
	}
	return uint32(min(n, 1<<31)) // no memory has room for as much
}

// Close ends what a cache does by itself. Run has ended before.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	if c.frames != nil {
		c.frames.StopAllGoroutines()
		c.objects.StopAllGoroutines()
	}
	if c.disk != nil {
		c.disk.index.StopAllGoroutines()
	}
}

// Run writes frames to the disk until ctx ends, and gives the disk up while that has no
// room to spare.
func (c *Cache) Run(ctx context.Context) {
	if c == nil || c.disk == nil {
		return
	}
	c.disk.run(ctx)
}

// A Moment is when something was asked for, which is before the keys were that open it:
// it is not kept if anything was forgotten since.
type Moment int64

// Moment returns the present one.
func (c *Cache) Moment() Moment {
	if c == nil {
		return 0
	}
	return Moment(c.forgotten.Load())
}

// Frame returns the content of a frame, which is not to be changed, to whoever asked for
// it at a moment.
func (c *Cache) Frame(f Frame, asked Moment) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	if c.frames != nil {
		if x, ok := c.frames.GetIfPresent(f.name()); ok && x.as == f {
			tell(c.events.Found, Memory)
			return x.text, true
		}
	}
	if c.disk != nil {
		if text, ok := c.disk.open(f); ok {
			c.remember(f, text, asked)
			tell(c.events.Found, Disk)
			return text, true
		}
	}
	return nil, false
}

func tell(event func(string), where string) {
	if event != nil {
		event(where)
	}
}

// Open opens a sealed frame, in place, and keeps it if that went well. It was asked for
// at a moment. Kind: Integrity.
func (c *Cache) Open(f Frame, sealed []byte, asked Moment) ([]byte, error) {
	var copied []byte
	if c != nil && c.disk != nil && c.disk.wants(f) {
		copied = slices.Clone(sealed)
	}
	text, err := crypt.OpenFrame(f.Key, f.Index, f.Last, sealed)
	if err != nil || c == nil {
		return text, err
	}
	tell(c.events.Missed, Disk)
	if copied != nil {
		c.disk.keep(f, copied, asked)
	}
	c.remember(f, slices.Clone(text), asked)
	return text, nil
}

func (c *Cache) remember(f Frame, text []byte, asked Moment) {
	if c.frames == nil || c.Moment() != asked {
		return
	}
	c.frames.Set(f.name(), opened{f, text})
	if c.Moment() != asked { // and what was forgotten meanwhile may have gone before it came
		c.frames.Invalidate(f.name())
	}
}

// Turn waits until nobody else fetches a frame. If somebody did, done is nil, and the
// frame may be there now. Otherwise it is the caller's turn to fetch it, and to call done.
// Its error is that ctx has ended.
func (c *Cache) Turn(ctx context.Context, f Frame) (done func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	c.mu.Lock()
	other := c.turns[f]
	if other == nil {
		mine := make(chan struct{})
		c.turns[f] = mine
		c.mu.Unlock()
		return func() {
			c.mu.Lock()
			delete(c.turns, f)
			c.mu.Unlock()
			close(mine)
		}, nil
	}
	c.mu.Unlock()
	select {
	case <-other:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Object returns a manifest that was opened by a reader.
func (c *Cache) Object(id datamesh.ObjectID, r Reader) (*Object, bool) {
	if c == nil || c.objects == nil {
		return nil, false
	}
	x, ok := c.objects.GetIfPresent(id)
	if !ok || x.by != r {
		tell(c.events.Missed, Manifest)
		return nil, false
	}
	tell(c.events.Found, Manifest)
	return x.object, true
}

// KeepObject keeps a manifest that a reader has opened, and asked for at a moment.
func (c *Cache) KeepObject(id datamesh.ObjectID, r Reader, o *Object, asked Moment) {
	if c == nil || c.objects == nil || c.Moment() != asked {
		return
	}
	c.objects.Set(id, read{r, o})
	if c.Moment() != asked { // likewise
		c.objects.Invalidate(id)
	}
}

// ForgetObject forgets a manifest, whoever has opened it.
func (c *Cache) ForgetObject(id datamesh.ObjectID) {
	if c != nil && c.objects != nil {
		c.objects.Invalidate(id)
	}
}

// Forget forgets the frames of a segment of so many sealed bytes, and the manifest that
// it may be.
func (c *Cache) Forget(id datamesh.SegmentID, length int) {
	if c == nil {
		return
	}
	c.forgotten.Add(1)
	c.ForgetObject(datamesh.ObjectID(id))
	frames := (length + crypt.FrameLen - 1) / crypt.FrameLen
	if c.frames != nil {
		for i := range frames {
			c.frames.Invalidate(name{id, i})
		}
	}
	if c.disk != nil {
		c.disk.forget(id, frames)
	}
}

// Lock forgets all that is open: the keys are not there any more. What is on the disk is
// sealed, and stays, but what waits to be written there.
func (c *Cache) Lock() {
	if c == nil || c.frames == nil {
		return
	}
	c.forgotten.Add(1)
	c.frames.InvalidateAll()
	c.objects.InvalidateAll()
}

// Usage returns how many bytes the tiers have.
func (c *Cache) Usage() (memory, disk int64) {
	if c == nil {
		return 0, 0
	}
	if c.frames != nil {
		memory = int64(c.frames.WeightedSize() + c.objects.WeightedSize())
	}
	if c.disk != nil {
		disk = int64(c.disk.index.WeightedSize())
	}
	return memory, disk
}
