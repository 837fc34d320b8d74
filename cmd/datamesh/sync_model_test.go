//go:build unix

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
)

// A syncWorld is a mesh in memory, of one owner, with what happened to it.
type syncWorld struct {
	t    *testing.T
	seed uint64

	mu      sync.Mutex // guards the rest
	objects []*syncObject
	clock   time.Time

	// What the user did: contents that were overwritten or deleted, and paths.
	made        map[string]string // paths of contents
	given       map[string]bool
	deleted     map[string]bool
	deletedText map[string]bool
}

type syncObject struct {
	node.Object
	content string
	gone    bool
	forgot  bool // it is in no list any more, and nobody has deleted it
}

// live returns what has a name, the newest first. It is called with the lock held.
func (w *syncWorld) live(name string, known func(*syncObject) bool) (all []*syncObject) {
	for _, o := range w.objects {
		if o.Name == name && known(o) {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *syncObject) int { return b.Created.Compare(a.Created) })
	return all
}

// A syncHome is a home of the owner, with a directory. It knows what it has heard.
type syncHome struct {
	api.Operations // which it has not

	w      *syncWorld
	dir    string
	memory string
	heard  map[datamesh.ObjectID]bool // true: it is gone

	left   int // operations after which the process dies; negative: it does not
	die    context.CancelFunc
	during func(name string) // what the user does while that is read

	partial bool               // not all that others have said is known
	putting func(string) error // of each put, once all is read
	guarded bool               // it is not said how much may be deleted
}

// at counts an operation, and reports whether the process is dead. Half of the
// deaths come when the mesh has done it.
func (h *syncHome) at(do func() error) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.left--
	if h.left == 0 && h.w.seed%2 == 0 {
		h.die()
		return context.Canceled
	}
	if h.left < 0 && h.left > -1000 {
		return context.Canceled
	}
	err := do()
	if h.left == 0 {
		h.die()
		return context.Canceled
	}
	return err
}

func (h *syncHome) known(o *syncObject) bool {
	gone, heard := h.heard[o.ID]
	return heard && !gone && !o.forgot
}

func (h *syncHome) Hear(context.Context) (*node.Heard, error) {
	return &node.Heard{Partial: h.partial}, h.at(func() error {
		for _, o := range h.w.objects {
			h.heard[o.ID] = o.gone
		}
		return nil
	})
}

func (h *syncHome) Deleted(context.Context) (*node.DeletedObjects, error) {
	all := new(node.DeletedObjects)
	return all, h.at(func() error {
		for _, o := range h.w.objects {
			if h.heard[o.ID] && !o.forgot {
				all.Objects = append(all.Objects, node.DeletedObject{ID: o.ID, Name: o.Name, Done: true})
			}
		}
		return nil
	})
}

func (h *syncHome) Publish(context.Context) (*node.Published, error) {
	return &node.Published{}, h.at(func() error { return nil })
}

func (h *syncHome) List(_ context.Context, _ node.ListOptions, each func(node.Object) error) error {
	return h.at(func() error {
		var all []*syncObject
		for _, o := range h.w.objects {
			if h.known(o) {
				all = append(all, o)
			}
		}
		slices.SortStableFunc(all, func(a, b *syncObject) int { return b.Created.Compare(a.Created) })
		for _, o := range all {
			if err := each(o.Object); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *syncHome) Put(_ context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if h.putting != nil {
		if err := h.putting(strings.TrimPrefix(o.Name, "top/")); err != nil {
			return nil, err
		}
	}
	stored := &node.Stored{Name: o.Name, Size: int64(len(b))}
	return stored, h.at(func() error {
		x := &syncObject{content: string(b)}
		binary.BigEndian.PutUint64(x.ID[:], uint64(len(h.w.objects)+1))
		h.w.clock = h.w.clock.Add(time.Millisecond)
		x.Name, x.Size, x.Type, x.Mode, x.ModTime, x.Created = o.Name, int64(len(b)), o.Type, o.Mode, o.ModTime, o.Created
		if x.Created.IsZero() {
			x.Created = h.w.clock
		}
		h.w.objects = append(h.w.objects, x)
		h.heard[x.ID] = false
		stored.ID = x.ID
		return nil
	})
}

func (h *syncHome) Get(_ context.Context, ref string, _ node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	var found *syncObject
	err := h.at(func() error {
		for _, o := range h.w.objects {
			if o.ID.String() == ref && !o.gone {
				found = o
				return nil
			}
		}
		return errs.New(errs.Deleted, "it is gone")
	})
	if found == nil {
		return nil, err
	}
	if h.during != nil {
		h.during(strings.TrimPrefix(found.Name, "top/"))
	}
	out, failed := open(node.ObjectInfo{ID: found.ID, Name: found.Name, Size: found.Size, Mode: found.Mode, ModTime: found.ModTime, Type: found.Type})
	if failed == nil {
		_, failed = io.Copy(out, bytes.NewReader([]byte(found.content)))
	}
	return &node.Fetched{}, failed // if it died, then before it could say so
}

func (h *syncHome) Delete(_ context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
	return &node.Removed{}, h.at(func() error {
		w := h.w
		for _, x := range w.objects {
			if x.ID.String() != ref {
				continue
			}
			if x.Name != o.Name {
				w.t.Errorf("%s was deleted as %s", x.Name, o.Name)
			}
			all := w.live(x.Name, func(o *syncObject) bool { return !o.gone })
			below := strings.TrimPrefix(x.Name, "top/")
			if !w.deleted[below] {
				w.t.Errorf("seed %d: %s was deleted in the mesh, and nobody did that", w.seed, x.Name)
			}
			if len(all) == 1 && x.Type == "" && !w.deletedText[x.content] && !w.given[x.content] {
				w.t.Errorf("seed %d: %s had %q, which nobody deleted", w.seed, x.Name, x.content)
			}
			x.gone, h.heard[x.ID] = true, true
			return nil
		}
		return errs.New(errs.FileNotFound, "there is no such object")
	})
}

// sync runs one sync, which dies after so many operations, unless that is 0.
func (h *syncHome) sync(dies int) (*batch, error) {
	ctx, cancel := context.WithCancel(h.w.t.Context())
	defer cancel()
	h.die, h.left = cancel, dies
	if dies == 0 {
		h.left = -1000
	}
	c := &cli{out: io.Discard, err: io.Discard, json: true}
	s := &syncer{tally: c.newTally("sync"), ops: h, o: syncOptions{dir: h.dir, name: "top", twoWay: true, limit: mirror.Limit{Percent: 100}, limited: !h.guarded, memory: h.memory}}
	err := s.run(ctx, func() func() { return func() {} })
	return &s.batch, cmp.Or(err, s.stopped)
}

// contents returns the contents of all files below a directory.
func contents(dir string) map[string]string {
	all := map[string]string{}
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".datamesh-") {
			if b, err := os.ReadFile(name); err == nil {
				rel, _ := filepath.Rel(dir, name) // it is below
				all[rel] = string(b)
			}
		}
		return nil
	})
	return all
}

// A scribe does to a directory what users do.
type scribe struct {
	w   *syncWorld
	r   *rand.Rand
	dir string
	n   *int
}

// forget notes that the user has given up what is at a path, and all below it.
func (e *scribe) forget(name string) {
	full := filepath.Join(e.dir, name)
	filepath.WalkDir(full, func(found string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		rel, _ := filepath.Rel(e.dir, found) // it is below
		e.w.deleted[rel] = true
		if b, err := os.ReadFile(found); err == nil && d.Type().IsRegular() {
			e.w.given[string(b)], e.w.deletedText[string(b)] = true, true
		}
		return nil
	})
	os.RemoveAll(full)
}

// parents makes the directories that lead to a path, in the place of whatever
// else is there.
func (e *scribe) parents(name string) {
	if up := path.Dir(name); up != "." {
		e.parents(up)
		if info, err := os.Lstat(filepath.Join(e.dir, up)); err == nil && !info.IsDir() {
			e.forget(up)
		}
		os.Mkdir(filepath.Join(e.dir, up), 0o755)
	}
}

func (e *scribe) name() string {
	parts := make([]string, 1+e.r.IntN(2+int(e.w.seed%2)))
	for i := range parts {
		parts[i] = string(rune('a' + e.r.IntN(3)))
	}
	return strings.Join(parts, "/")
}

// write writes new content to a file.
func (e *scribe) write(name string) {
	full := filepath.Join(e.dir, name)
	e.parents(name)
	if info, err := os.Lstat(full); err == nil && !info.Mode().IsRegular() {
		e.forget(name)
	} else if b, err := os.ReadFile(full); err == nil {
		e.w.given[string(b)] = true
	}
	*e.n++
	text := fmt.Sprintf("%d of %s%s", *e.n, name, strings.Repeat(".", e.r.IntN(5)))
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		return // a sync has made a directory of it meanwhile
	}
	e.w.made[text] = name
	at := time.Unix(1e9+int64(*e.n), int64(e.r.IntN(1e9)))
	os.Chtimes(full, at, at)
}

// edit does something.
func (e *scribe) edit() {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	name := e.name()
	full := filepath.Join(e.dir, name)
	info, err := os.Lstat(full)
	switch e.r.IntN(10) {
	default:
		e.write(name)
	case 5:
		if err == nil {
			e.forget(name)
		}
	case 6:
		to := e.name()
		if err != nil || strings.HasPrefix(to+"/", name+"/") || strings.HasPrefix(name+"/", to+"/") {
			return
		}
		e.parents(to)
		if _, err := os.Lstat(filepath.Join(e.dir, to)); err == nil {
			e.forget(to)
		}
		if _, err := os.Lstat(full); err != nil {
			return // it was in the way itself
		}
		filepath.WalkDir(full, func(found string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(e.dir, found) // it is below
			e.w.deleted[rel] = true
			if b, err := os.ReadFile(found); err == nil && d.Type().IsRegular() {
				e.w.deletedText[string(b)] = true // of that name
			}
			return nil
		})
		os.Rename(full, filepath.Join(e.dir, to))
	case 7:
		e.parents(name)
		if err == nil {
			e.forget(name)
		}
		*e.n++
		os.Symlink(fmt.Sprintf("../%d", *e.n%20), full)
	case 8:
		if err == nil && !info.IsDir() {
			e.forget(name)
		}
		e.parents(name + "/x")
	case 9:
		if err == nil && info.Mode().Type() != fs.ModeSymlink {
			os.Chmod(full, []fs.FileMode{0o755, 0o700, 0o750, 0o777}[e.r.IntN(4)])
		}
	}
}

// Whatever two users of one owner do to their directories, and wherever a sync
// dies, both and the mesh are the same in the end; what nobody has deleted or
// overwritten is there, and what was is in the mesh if a sync has seen it.
func TestSyncsOfTwoHomesLoseNothing(t *testing.T) {
	for seed := range uint64(60) {
		syncsLoseNothing(t, seed)
		if t.Failed() {
			return
		}
	}
}

func syncsLoseNothing(t *testing.T, seed uint64) {
	w := &syncWorld{t: t, seed: seed, clock: time.Unix(2e9, 0).UTC(), made: map[string]string{}, given: map[string]bool{}, deleted: map[string]bool{}, deletedText: map[string]bool{}}
	r, n := rand.New(rand.NewPCG(seed, 28)), 0
	base := t.TempDir()
	var homes []*syncHome
	var editors []*scribe
	for i := range 2 {
		h := &syncHome{w: w, dir: filepath.Join(base, fmt.Sprint("dir", i)), memory: filepath.Join(base, fmt.Sprint("memory", i)), heard: map[datamesh.ObjectID]bool{}}
		homes = append(homes, h)
		editors = append(editors, &scribe{w, r, h.dir, &n})
		if err := os.Mkdir(h.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sync := func(i, dies int) (b *batch, did bool) {
		h := homes[i]
		before := contents(h.dir)
		b, err := h.sync(dies)
		switch {
		case errors.Is(err, errs.Refused): // all of one side is gone: as the hint says
			w.mu.Lock()
			editors[i].write("left")
			w.mu.Unlock()
			return b, false
		case err != nil && dies == 0:
			t.Fatalf("seed %d: home %d: %v", seed, i, err)
		}
		after := map[string]bool{}
		for _, text := range contents(h.dir) {
			after[text] = true
		}
		for name, text := range before {
			in := slices.ContainsFunc(w.objects, func(o *syncObject) bool { return o.content == text })
			if !after[text] && !in && !w.given[text] {
				t.Errorf("seed %d: home %d: %q of %s is lost", seed, i, text, name)
			}
		}
		return b, err == nil
	}
	for range 6 {
		for i, e := range editors {
			for range r.IntN(6) {
				e.edit()
			}
			homes[i].during = nil
			if r.IntN(2) == 0 {
				left := 1 + r.IntN(4)
				homes[i].during = func(name string) {
					if w.mu.Lock(); left == 0 {
						w.mu.Unlock()
						return
					}
					left--
					same := r.IntN(4) > 0
					if same {
						e.write(name)
					}
					if w.mu.Unlock(); !same {
						e.edit()
					}
				}
			}
		}
		for range 1 + r.IntN(3) {
			dies := 0
			if r.IntN(2) == 0 {
				dies = 1 + r.IntN(25)
			}
			sync(r.IntN(2), dies)
		}
	}
	homes[0].during, homes[1].during = nil, nil
	quiet := 0
	for round := 0; quiet < 2; round++ {
		if round > 12 {
			t.Fatalf("seed %d: the two never come to rest: %+v", seed, homes[0].w.objects[len(homes[0].w.objects)-1].Object)
		}
		b, did := sync(round%2, 0)
		if b.Failed > 0 {
			for _, f := range b.Files {
				if f.Error != nil {
					t.Errorf("seed %d: home %d: %s: %s", seed, round%2, f.Name, f.Error.Error)
				}
			}
		}
		quiet++
		if !did || b.Stored+b.Written+b.deleted+b.removed > 0 {
			quiet = 0
		}
	}
	one, two := treeOf(t, homes[0].dir), treeOf(t, homes[1].dir)
	if diff := gocmp.Diff(one, two); diff != "" {
		t.Errorf("seed %d: the two are not the same (-one +two):\n%s", seed, diff)
	}
	live := map[string]bool{}
	for _, o := range w.objects {
		if !o.gone {
			live[o.content] = true
		}
	}
	for name, text := range contents(homes[0].dir) {
		all := w.live(path.Join("top", name), func(o *syncObject) bool { return !o.gone })
		if len(all) == 0 || all[0].content != text {
			t.Errorf("seed %d: %s is %q here, and not so in the mesh", seed, name, text)
		}
	}
	for _, o := range w.objects {
		if o.gone && !w.deleted[strings.TrimPrefix(o.Name, "top/")] {
			t.Errorf("seed %d: %s was deleted", seed, o.Name)
		}
		if !o.gone && o.Name != "top" && one[strings.TrimPrefix(o.Name, "top/")] == "" {
			t.Errorf("seed %d: %s is in the mesh, and not here", seed, o.Name)
		}
		if o.gone && !live[o.content] && o.Type == "" && !w.given[o.content] && !w.deletedText[o.content] && !w.deleted[strings.TrimPrefix(o.Name, "top/")] {
			t.Errorf("seed %d: %q of %s is lost", seed, o.content, o.Name)
		}
	}
	for text, name := range w.made {
		stored := slices.ContainsFunc(w.objects, func(o *syncObject) bool { return o.content == text }) // and went with its name, if that was deleted
		if !live[text] && !w.given[text] && !w.deletedText[text] && !(stored && w.deleted[name]) {
			t.Errorf("seed %d: %q of %s is lost, and nobody has given it up", seed, text, name)
		}
	}
}
