package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
)

// A world is a mesh as the devices of one owner see it: a few members that keep
// his words and what his catalogs say, of which a majority must be reached, and
// the trash, which is emptied after a week.
type world struct {
	t       *testing.T
	random  *rand.Rand
	objects map[datamesh.ObjectID]*object
	members [5]member
	made    int

	mu  sync.Mutex // guards now
	now time.Time
}

const trashTime = 7 * 24 * time.Hour

type object struct {
	content []byte
	typ     string
	trashed time.Time // since when it is in the trash
	purged  bool
	lost    bool // with its holders
}

type member struct {
	words   map[datamesh.ObjectID]uint64
	changes map[change]bool
}

// A change is what a device has said of an object.
type change struct {
	clock, device int
	entry
}

type entry struct {
	id      datamesh.ObjectID
	name    string
	typ     string
	size    int64
	created time.Time
	deleted time.Time
	final   bool
	done    bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), now: time.Now().Add(24 * time.Hour), objects: map[datamesh.ObjectID]*object{}}
	for i := range w.members {
		w.members[i] = member{map[datamesh.ObjectID]uint64{}, map[change]bool{}}
	}
	return w
}

// pass lets time pass, and has the trash emptied.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	for id, o := range w.objects {
		if w.word(id)%2 == 1 && w.now.Sub(o.trashed) > trashTime {
			o.purged = true
		}
	}
}

// time returns what it is.
func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// word returns the highest generation that any member has heard of: whoever has
// shards hears of it, too.
func (w *world) word(id datamesh.ObjectID) (most uint64) {
	for _, m := range w.members {
		most = max(most, m.words[id])
	}
	return most
}

// compare has members that reach each other tell each other what they have.
func (w *world) compare(of []int) {
	for _, a := range of {
		for _, b := range of {
			for id, word := range w.members[a].words {
				w.members[b].words[id] = max(w.members[b].words[id], word)
			}
			for c := range w.members[a].changes {
				w.members[b].changes[c] = true
			}
		}
	}
}

// A device is a home of the owner.
type device struct {
	w       *world
	n       int
	catalog map[datamesh.ObjectID]change
	clock   int
	unsent  []change
	reach   []int  // members
	hook    func() // called before each operation
	crashAt int    // operations from now on after which it is dead; 0: it lives
}

var errCrashed = errors.New("the device has crashed")

func (d *device) step() error {
	if d.crashAt == 1 {
		return errCrashed
	}
	if d.crashAt > 0 {
		d.crashAt--
	}
	if d.hook != nil {
		d.hook()
	}
	return nil
}

func (d *device) majority() error {
	if len(d.reach) <= len(d.w.members)/2 {
		return errs.New(errs.Unavailable, "device %d reaches %d members", d.n, len(d.reach))
	}
	return nil
}

// say changes the catalog.
func (d *device) say(e entry) {
	d.clock++
	c := change{d.clock, d.n, e}
	d.catalog[e.id] = c
	d.unsent = append(d.unsent, c)
}

func (d *device) publish() error {
	for _, c := range d.unsent {
		for _, m := range d.reach {
			d.w.members[m].changes[c] = true
		}
	}
	if err := d.majority(); err != nil {
		return err
	}
	d.unsent = nil
	return nil
}

func (d *device) learn() error {
	if err := d.majority(); err != nil {
		return err
	}
	for _, m := range d.reach {
		for c := range d.w.members[m].changes {
			before, ok := d.catalog[c.id]
			if !ok || c.clock > before.clock || c.clock == before.clock && c.device > before.device {
				d.catalog[c.id] = c
			}
			d.clock = max(d.clock, c.clock)
		}
	}
	return nil
}

// last returns the last word that a majority knows of.
func (d *device) last(id datamesh.ObjectID) (word uint64, err error) {
	if err := d.majority(); err != nil {
		return 0, err
	}
	for _, m := range d.reach {
		word = max(word, d.w.members[m].words[id])
	}
	return word, nil
}

// speak says a word. What fails may still be heard of.
func (d *device) speak(id datamesh.ObjectID, word uint64) error {
	before := d.w.word(id)
	for _, m := range d.reach {
		d.w.members[m].words[id] = max(d.w.members[m].words[id], word)
	}
	if o := d.w.objects[id]; before%2 == 0 && d.w.word(id)%2 == 1 {
		o.trashed = d.w.now
	}
	return d.majority()
}

func (d *device) Put(_ context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if err := d.step(); err != nil {
		return nil, err
	}
	if err := d.majority(); err != nil {
		return nil, err
	}
	d.w.made++
	id := datamesh.ObjectID(sha256.Sum256([]byte{byte(d.w.made), byte(d.w.made >> 8), byte(d.w.made >> 16)}))
	d.w.objects[id] = &object{content: content, typ: o.Type}
	d.say(entry{id: id, name: o.Name, typ: o.Type, size: int64(len(content)), created: d.w.now})
	s := &node.Stored{Survives: 2, ID: id, Size: int64(len(content))}
	if err := d.publish(); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	return s, nil
}

func (d *device) Get(_ context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	id, err := datamesh.ParseObjectID(ref)
	if err != nil {
		return nil, err
	}
	if !d.catalog[id].deleted.IsZero() {
		return nil, errs.New(errs.Deleted, "%s is deleted in the catalog", ref)
	}
	x := d.w.objects[id]
	if err := d.majority(); err != nil {
		return nil, err
	}
	if d.w.word(id)%2 == 1 || x.purged {
		return nil, errs.New(errs.Deleted, "%s is deleted", ref)
	}
	if x.lost {
		return nil, errs.New(errs.Unavailable, "%s cannot be read", ref)
	}
	info := node.ObjectInfo{ID: id, Size: int64(len(x.content))}
	if o.Resume != nil {
		info.From = o.Resume.From
	}
	w, err := open(info)
	if err == nil {
		_, err = w.Write(x.content[info.From:])
	}
	return &node.Fetched{ID: id, Size: info.Size}, err
}

func (d *device) Delete(_ context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	id, err := datamesh.ParseObjectID(ref)
	if err != nil {
		return nil, err
	}
	word, err := d.last(id)
	if err != nil {
		return nil, err
	}
	e := d.catalog[id].entry
	if word%2 == 1 {
		already := e.done
		if e.deleted.IsZero() {
			e.deleted = d.w.now
		}
		e.done = true
		d.say(e)
		if already {
			return nil, errs.New(errs.Deleted, "%s is deleted", ref)
		}
		return &node.Removed{ID: id, Size: e.size}, nil
	}
	e.deleted, e.final, e.done = d.w.now, o.Now, false
	d.say(e)
	if err := d.step(); err != nil {
		return nil, err
	}
	next := word + 1
	if o.Now {
		next = datamesh.Final + 1 // which is odd
	}
	if err := d.speak(id, next); err != nil {
		return nil, err
	}
	if err := d.step(); err != nil {
		return nil, err
	}
	e.done = true
	d.say(e)
	d.publish()
	return &node.Removed{ID: id, Size: e.size}, nil
}

func (d *device) Undelete(_ context.Context, ref string) (*node.Undeleted, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	id, err := datamesh.ParseObjectID(ref)
	if err != nil {
		return nil, err
	}
	word, err := d.last(id)
	switch {
	case err != nil:
		return nil, err
	case word == 0:
		return nil, errs.New(errs.FileNotFound, "nobody knows that %s was deleted", ref)
	case word >= datamesh.Final:
		return nil, errs.New(errs.Deleted, "%s is deleted for good", ref)
	case d.w.objects[id].purged:
		return nil, errs.New(errs.Unavailable, "%s is not in the trash any more", ref)
	case word%2 == 1:
		if err := d.speak(id, word+1); err != nil {
			return nil, err
		}
	}
	if err := d.step(); err != nil {
		return nil, err
	}
	e := d.catalog[id].entry
	e.id, e.deleted, e.done = id, time.Time{}, false
	d.say(e)
	d.publish()
	return &node.Undeleted{ID: id}, nil
}

func (d *device) BackupObjects(_ context.Context, learn bool) (*node.BackupObjects, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	all := &node.BackupObjects{}
	if learn {
		all.Complete = d.learn() == nil
	}
	for id, c := range d.catalog {
		b := node.BackupObject{ID: id, Name: c.name, Size: c.size, Created: c.created}
		if !c.deleted.IsZero() {
			if b.Deleted, b.Done = true, c.done; !c.final {
				b.Until = c.deleted.Add(trashTime)
			}
		}
		if c.typ == format.PackType {
			all.Packs = append(all.Packs, b)
		} else {
			all.Snapshots = append(all.Snapshots, b)
		}
	}
	newest := func(a, b node.BackupObject) int {
		if x := b.Created.Compare(a.Created); x != 0 {
			return x
		}
		return bytes.Compare(a.ID[:], b.ID[:]) // so that a seed says all
	}
	slices.SortFunc(all.Packs, newest)
	slices.SortFunc(all.Snapshots, newest)
	return all, nil
}

// Info tells where an object is: it is whole, unless it is deleted or lost.
func (d *device) Info(_ context.Context, ref string, _ bool) (*node.Info, error) {
	id, err := datamesh.ParseObjectID(ref)
	if err != nil {
		return nil, err
	}
	if x := d.w.objects[id]; x == nil || x.purged || x.lost {
		return &node.Info{ID: id, Survives: -1}, nil
	}
	return &node.Info{ID: id, Survives: 2}, nil
}

// Check finds every shard of an object whole, unless it is deleted or lost.
func (d *device) Check(_ context.Context, ref string) (*node.Checked, error) {
	id, err := datamesh.ParseObjectID(ref)
	if err != nil {
		return nil, err
	}
	if x := d.w.objects[id]; x == nil || x.purged || x.lost {
		return nil, errs.New(errs.Unavailable, "%s is lost", id)
	}
	return &node.Checked{ID: id, Shards: 6, Bad: []node.BadShard{}}, nil
}

func (d *device) Gone(_ context.Context, ids []datamesh.ObjectID) (*node.Gone, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	if err := d.publish(); err != nil {
		return nil, err
	}
	g := &node.Gone{}
	for _, id := range ids {
		word, err := d.last(id)
		if err != nil {
			return nil, err
		}
		if word%2 == 1 {
			g.Gone = append(g.Gone, id)
		}
	}
	return g, nil
}
