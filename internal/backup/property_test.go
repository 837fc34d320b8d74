package backup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// small are limits of which a test needs little content.
var small = limits{64, 256, 1024, 4096, 40, 1, idleTime, unknownTime}

// A home is a device with an index and a tree.
type home struct {
	*device
	dir    string // of the archive
	files  string // the tree
	seed   int
	limits limits
	ids    [32]byte
}

// open opens the archive of a home, as a new process does.
func (h *home) open(t testing.TB) *Archive {
	t.Helper()
	a, err := Open(t.Context(), h.dir, Keys{Cuts: [32]byte{1}, IDs: h.ids}, h.device)
	if err != nil {
		t.Fatal(err)
	}
	a.limits, a.now = h.limits, h.w.time
	return a
}

// A history is a world with what was acknowledged in it.
type history struct {
	t     *testing.T
	w     *world
	homes []*home
	acked map[datamesh.ObjectID]map[string][]byte // the content of the tree
	wary  map[datamesh.ObjectID]bool              // of which somebody has said that they shall go
	never map[datamesh.ObjectID]bool              // and cannot take it back
	inner bool                                    // something happens within another thing
	spent time.Duration                           // in this round
	log   []string
	count map[string]int
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *history) fail(format string, args ...any) {
	h.t.Helper()
	for _, line := range h.log[max(0, len(h.log)-80):] {
		h.t.Log(line)
	}
	h.t.Fatalf(format, args...)
}

// change changes some files of a tree.
func (x *home) change(t *testing.T, r *rand.Rand) {
	for range 1 + r.IntN(3) {
		name := filepath.Join(x.files, fmt.Sprint("file", r.IntN(8)))
		content, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		x.seed++
		piece := make([]byte, 1+r.IntN(2000))
		rand.NewChaCha8([32]byte{byte(x.seed), byte(x.seed >> 8), byte(r.IntN(3))}).Read(piece)
		at := r.IntN(len(content) + 1)
		switch r.IntN(4) {
		case 0:
			content = slices.Concat(content[:at], piece, content[at:])
		case 1:
			content = content[:at]
		case 2:
			content = append(content, piece...)
		default:
			content = piece
		}
		if err = os.WriteFile(name+".new", content, 0o600); err == nil {
			err = os.Rename(name+".new", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// contents returns the files of a tree.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	list, err := os.ReadDir(dir)
	for _, e := range list {
		if err == nil {
			all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// expected is whether an operation may fail so.
func expected(err error) bool {
	return err == nil || errors.Is(err, errCrashed) || errors.Is(err, errs.Unavailable) || errors.Is(err, errs.Deleted) || errors.Is(err, errs.Backup)
}

// backup makes a backup, and keeps in mind what is acknowledged.
func (h *history) backup(x *home) {
	a := x.open(h.t)
	defer a.Close()
	source, err := tree.Open(x.files, tree.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer source.Close()
	a.Events.Note = func(text string) {
		switch {
		case strings.Contains(text, "is brought back"):
			h.count["brought back"]++
		case strings.Contains(text, "put anew"):
			h.count["put anew"]++
		}
	}
	want := contents(h.t, x.files)
	h.note("%v device %d backs up", h.w.now.Format(time.DateTime), x.n)
	r, err := a.Run(h.t.Context(), source, RunOptions{Name: fmt.Sprint("home", x.n), Force: h.w.random.IntN(4) == 0})
	h.note("%v device %d has backed up: %+v %v", h.w.now.Format(time.DateTime), x.n, r, err)
	if !expected(err) {
		h.fail("backup: %v", err)
	}
	if err == nil {
		h.acked[r.ID] = want
		for _, pack := range h.packs(r.ID) {
			if word, err := x.last(pack); err != nil || word%2 == 1 {
				h.fail("%v is acknowledged, and its pack %v is deleted: %d, %v", r.ID, pack, word, err)
			}
		}
		h.count["acknowledged"]++
	}
}

func (h *history) sweep(x *home) {
	a := x.open(h.t)
	defer a.Close()
	s, err := a.Sweep(h.t.Context())
	h.note("%v device %d has swept: %+v %v", h.w.now.Format(time.DateTime), x.n, s, err)
	if !expected(err) {
		h.fail("sweep: %v", err)
	}
	if s != nil {
		h.count["swept"] += s.Packs
		if s.Why != "" {
			h.count["sweeps that did nothing"]++
		} else {
			h.count["sweeps"]++
		}
		h.count["brought back by a sweep"] += s.Back
	}
}

// remove has all snapshots but a few deleted, or one brought back.
func (h *history) remove(x *home) {
	var listed, trashed []datamesh.ObjectID
	for id, c := range x.catalog {
		switch {
		case c.typ != format.SnapshotType:
		case c.final:
		case c.deleted.IsZero():
			listed = append(listed, id)
		case h.w.now.Sub(c.deleted) < trashTime:
			trashed = append(trashed, id)
		}
	}
	byTime := func(a, b datamesh.ObjectID) int {
		return cmp.Or(x.catalog[a].created.Compare(x.catalog[b].created), bytes.Compare(a[:], b[:]))
	}
	slices.SortFunc(listed, byTime)
	slices.SortFunc(trashed, byTime)
	if len(trashed) > 0 && h.w.random.IntN(5) == 0 {
		id := trashed[h.w.random.IntN(len(trashed))]
		_, err := x.Undelete(h.t.Context(), id.String())
		h.note("%v device %d undeletes %v: %v", h.w.now.Format(time.DateTime), x.n, id, err)
		if err == nil && len(x.reach) == len(h.w.members) && !h.never[id] {
			delete(h.wary, id)
			h.count["undeleted"]++
		}
		return
	}
	for _, id := range listed[:max(0, len(listed)-h.w.random.IntN(3))] {
		h.wary[id] = true
		o := node.DeleteOptions{Now: h.w.random.IntN(2) == 0}
		_, err := x.Delete(h.t.Context(), id.String(), o)
		h.note("%v device %d deletes %v, now: %v: %v", h.w.now.Format(time.DateTime), x.n, id, o.Now, err)
		if o.Now || err != nil {
			h.never[id] = true // the word may still be heard of
		}
		h.count["deleted"]++
	}
}

// check sees that whatever is acknowledged can be had, or brought back.
func (h *history) check() {
	for id := range h.acked {
		if h.wary[id] {
			continue
		}
		for _, pack := range h.packs(id) {
			if h.w.objects[pack].purged {
				h.fail("%v: the snapshot %v has lost its pack %v", h.w.now, id, pack)
			}
		}
	}
}

// packs returns what a snapshot needs.
func (h *history) packs(id datamesh.ObjectID) (all []datamesh.ObjectID) {
	s := format.NewSnapshotReader(bytes.NewReader(h.w.objects[id].content))
	for {
		b, err := s.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			h.fail("%v: %v", id, err)
		}
		all = append(all, b.Packs...)
	}
}

// act has something happen.
func (h *history) act(x *home) {
	r := h.w.random
	x.crashAt = 0
	if r.IntN(5) == 0 {
		x.crashAt = 1 + r.IntN(25)
	}
	switch r.IntN(7) {
	case 0, 1, 2:
		x.change(h.t, r)
		h.backup(x)
	case 3, 4:
		h.sweep(x)
	default:
		h.remove(x)
	}
	x.crashAt = 0
	h.check()
}

// cut has devices and members reach some of the members.
func (h *history) cut() {
	all := []int{0, 1, 2, 3, 4}
	for _, x := range h.homes {
		x.reach = all
	}
	switch h.w.random.IntN(4) {
	case 0:
		h.homes[0].reach, h.homes[1].reach = all[:3], all[2:]
	case 1:
		h.homes[0].reach, h.homes[1].reach = all[:2], all[2:]
	case 2:
		h.w.random.Shuffle(5, func(i, j int) { all[i], all[j] = all[j], all[i] })
		h.homes[0].reach, h.homes[1].reach = all[:4], all[1:]
	}
	for _, x := range h.homes {
		h.w.compare(x.reach)
	}
}

// pass lets time pass, of which there is little in a round: within a week, the
// time of the trash, each device is there once and hears all others.
func (h *history) pass(most time.Duration) {
	d := time.Duration(h.w.random.Int64N(int64(most)))
	if h.spent += d; h.spent < 5*24*time.Hour {
		h.w.pass(d)
	}
}

// between is what may happen between two operations of a device: the other one
// does something from its beginning to its end, time passes, and the mesh is cut.
func (h *history) between(other *home) func() {
	return func() {
		r := h.w.random
		if h.inner || r.IntN(8) > 0 {
			return
		}
		h.inner = true
		defer func() { h.inner = false }()
		switch r.IntN(4) {
		case 0:
			h.cut()
		case 1:
			h.pass(30 * time.Hour)
		case 2: // what the device is about to need goes as fast as it can
			h.remove(other)
			h.sweep(other)
			h.pass(30 * time.Hour)
			h.sweep(other)
			h.check()
		default:
			h.act(other)
		}
	}
}

func TestNoAcknowledgedSnapshotLosesAByte(t *testing.T) {
	rounds, seeds := 25, 4
	if n, err := strconv.Atoi(os.Getenv("TEST_DATAMESH_SEEDS")); err == nil {
		seeds = n
	}
	total := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := small
			if seed%3 > 0 { // so that what goes is all too often what another device is about to need
				l.idle, l.unknown = time.Hour, time.Hour
			}
			h := &history{t: t, w: newWorld(t, uint64(seed)), acked: map[datamesh.ObjectID]map[string][]byte{}, wary: map[datamesh.ObjectID]bool{}, never: map[datamesh.ObjectID]bool{}, count: total}
			for n := range 2 {
				h.homes = append(h.homes, &home{device: &device{w: h.w, n: n, catalog: map[datamesh.ObjectID]change{}, reach: []int{0, 1, 2, 3, 4}},
					dir: filepath.Join(t.TempDir(), "archive"), files: t.TempDir(), seed: 1000 * n, limits: l})
			}
			h.homes[0].hook, h.homes[1].hook = h.between(h.homes[1]), h.between(h.homes[0])
			for range rounds {
				h.spent = 0
				h.cut()
				for range 4 {
					h.act(h.homes[h.w.random.IntN(2)])
					h.pass(20 * time.Hour)
				}
				h.heal()
			}
			h.restoreAll()
		})
	}
	t.Logf("%v", total)
	for _, what := range []string{"acknowledged", "swept", "deleted", "undeleted", "restored"} {
		if total[what] == 0 {
			t.Errorf("nothing was %s", what)
		}
	}
}

// heal ends all cuts, and has each device look after its backups, undisturbed.
func (h *history) heal() {
	h.inner = true
	defer func() { h.inner = false }()
	all := []int{0, 1, 2, 3, 4}
	h.w.compare(all)
	for _, x := range h.homes {
		x.reach = all
	}
	for range 2 {
		for _, x := range h.homes {
			x.crashAt = 0
			h.sweep(x)
		}
	}
	h.check()
}

// restoreAll restores all that is acknowledged, from a home that is new.
func (h *history) restoreAll() {
	h.inner = true
	x := &home{device: &device{w: h.w, n: 9, catalog: map[datamesh.ObjectID]change{}, reach: []int{0, 1, 2, 3, 4}}, dir: filepath.Join(h.t.TempDir(), "archive"), limits: small}
	a := x.open(h.t)
	defer a.Close()
	if err := x.learn(); err != nil {
		h.t.Fatal(err)
	}
	for id, want := range h.acked {
		if h.wary[id] {
			continue
		}
		s, err := a.Find(h.t.Context(), id.String(), Version{})
		if err != nil {
			h.fail("%v: %v", id, err)
		}
		dir := h.t.TempDir()
		w, err := tree.Create(dir)
		if err != nil {
			h.t.Fatal(err)
		}
		if r, err := a.Restore(h.t.Context(), s, w); err != nil || r.Failed > 0 {
			h.fail("%v: %+v, %v", id, r, err)
		}
		if got := contents(h.t, dir); !maps.EqualFunc(got, want, bytes.Equal) {
			h.fail("%v: other files came back", id)
		}
		h.count["restored"]++
	}
}
