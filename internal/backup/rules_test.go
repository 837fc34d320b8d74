package backup

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// newHome makes a home of a world, with a few files.
func newHome(t *testing.T, w *world, n int) *home {
	t.Helper()
	x := &home{device: &device{w: w, n: n, catalog: map[datamesh.ObjectID]change{}, reach: []int{0, 1, 2, 3, 4}},
		dir: filepath.Join(t.TempDir(), "archive"), files: t.TempDir(), limits: small}
	for i := range 4 {
		x.writes(t, fmt.Sprint("file", i), noise(byte(10*n+i), 3000))
	}
	return x
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (x *home) writes(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(x.files, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// backs makes a backup, which must succeed.
func (x *home) backs(t *testing.T) *Result {
	t.Helper()
	a := x.open(t)
	defer a.Close()
	source, err := tree.Open(x.files, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	r, err := a.Run(t.Context(), source, RunOptions{Name: "name"})
	if err != nil || r.Failed > 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	return r
}

func (x *home) sweeps(t *testing.T) *Sweep {
	t.Helper()
	a := x.open(t)
	defer a.Close()
	s, err := a.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (x *home) removes(t *testing.T, id datamesh.ObjectID, now bool) {
	t.Helper()
	if _, err := x.Delete(t.Context(), id.String(), node.DeleteOptions{Now: now}); err != nil {
		t.Fatal(err)
	}
}

// packs returns the packs that are there and not deleted.
func (w *world) packs() (n int) {
	for id, o := range w.objects {
		if o.typ == format.PackType && w.word(id)%2 == 0 {
			n++
		}
	}
	return n
}

// Devices share what they have in common, and a device sends nothing twice.
func TestDevicesShareChunks(t *testing.T) {
	w := newWorld(t, 1)
	a, b := newHome(t, w, 0), newHome(t, w, 1)
	first := a.backs(t)
	if again := a.backs(t); again.Read != 0 || again.Packs != first.Packs || a.w.packs() != first.Packs {
		t.Errorf("the second time: got %+v, the first time %+v", again, first)
	}
	for i := range 4 {
		content, err := os.ReadFile(filepath.Join(a.files, fmt.Sprint("file", i)))
		if err != nil {
			t.Fatal(err)
		}
		b.writes(t, fmt.Sprint("file", i), append([]byte("moved by a little"), content...))
	}
	if got := b.backs(t); got.NewBytes > first.NewBytes/2 || got.NewBytes == 0 {
		t.Errorf("the other device: got %+v, the first has %+v", got, first)
	}
	b.keys(t, [32]byte{9})
	if got := b.backs(t); got.Read != got.Bytes || got.NewBytes < got.Bytes {
		t.Errorf("with other keys: got %+v", got)
	}
}

// keys gives a home other keys, as another owner has.
func (x *home) keys(t *testing.T, ids [32]byte) {
	t.Helper()
	x.ids = ids
	if err := os.RemoveAll(x.dir); err != nil {
		t.Fatal(err)
	}
}

// A pack goes a day after it is known that no snapshot needs it, neither one that
// is listed nor one that can be brought back.
func TestPacksGoWhenNobodyNeedsThem(t *testing.T) {
	w := newWorld(t, 1)
	a, b := newHome(t, w, 0), newHome(t, w, 1)
	r := a.backs(t)
	all := w.packs()
	b.backs(t)
	others := w.packs() - all
	wants := func(what string, x *home, want int) {
		t.Helper()
		s := x.sweeps(t)
		if w.packs() != want || s.Why != "" {
			t.Errorf("%s: %d packs, want %d: %+v", what, w.packs(), want, s)
		}
	}
	w.pass(10 * 24 * time.Hour)
	wants("it is needed", a, all+others)
	a.removes(t, r.ID, false)
	w.pass(2 * 24 * time.Hour)
	wants("it can be brought back", a, all+others)
	wants("it can be brought back, for all that another knows", b, all+others)
	w.pass(5*24*time.Hour + time.Minute)
	wants("not for long", a, all+others)
	w.pass(23 * time.Hour)
	wants("not for a day", a, all+others)
	w.now = w.now.Add(-23 * time.Hour)
	wants("the clock was set back", a, all+others)
	w.pass(23 * time.Hour)
	wants("not for a day since", a, all+others)
	w.pass(2 * time.Hour)
	wants("for a day", a, others)
	w.pass(30 * 24 * time.Hour)
	wants("all was said", b, others)
}

// An index whose maker died on the way, wherever that was, is made anew.
func TestIndexThatIsHalfMadeIsMadeAnew(t *testing.T) {
	x := newHome(t, newWorld(t, 1), 1)
	x.writes(t, "a", noise(1, 100_000))
	statements := strings.SplitAfter(indexSchema, ";\n")
	path := filepath.Join(x.dir, "index.db")
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range statements {
		removeDatabase(path)
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.ExecContext(t.Context(), strings.Join(statements[:n], ""))
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		x.backs(t)
	}
}

func fileSize(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// An index that is damaged further in says what helps, which it does.
func TestIndexThatIsDamagedSaysWhatHelps(t *testing.T) {
	x := newHome(t, newWorld(t, 1), 1)
	for i := range 40 {
		x.writes(t, fmt.Sprint("file", i), noise(byte(i), 3000))
	}
	x.backs(t)
	path := filepath.Join(x.dir, "index.db")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := int64(4096); at < fileSize(t, f); at += 4096 { // all but the first page, which has the mark
		if _, err := f.WriteAt(noise(1, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	a := x.open(t)
	source, err := tree.Open(x.files, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	_, err = a.Run(t.Context(), source, RunOptions{Name: "name"})
	a.Close()
	t.Log(err, errs.HintFor(err))
	if errs.KindOf(err) != errs.Database || !strings.Contains(errs.HintFor(err), "move that file away") {
		t.Errorf("got %v, and the hint %q", err, errs.HintFor(err))
	}
	if err := os.Rename(path, path+".damaged"); err != nil {
		t.Fatal(err)
	}
	x.backs(t)
}

// Who asks for the newest snapshot is told if there may be a newer one.
func TestNewestSnapshotThatIsKnownIsSaidToBeThat(t *testing.T) {
	w := newWorld(t, 1)
	x, other := newHome(t, w, 0), newHome(t, w, 1)
	old, whole := x.backs(t), x.reach
	finds := func(name string, v Version, want datamesh.ObjectID, notes int) {
		t.Helper()
		a := x.open(t)
		defer a.Close()
		var said []string
		a.Events.Note = func(text string) { said = append(said, text) }
		if s, err := a.Find(t.Context(), name, v); err != nil || s.ID != want || len(said) != notes {
			t.Errorf("got %+v, %v, %q, want %v and %d notes", s, err, said, want, notes)
		}
	}
	finds("name", Version{}, old.ID, 0)
	w.pass(time.Hour)
	other.writes(t, "file0", noise(9, 3000))
	newer := other.backs(t)
	x.reach = nil
	finds("name", Version{}, old.ID, 1)
	finds("name", Version{Number: 1}, old.ID, 1)
	finds("name", Version{ID: old.ID}, old.ID, 0)
	finds(old.ID.String(), Version{}, old.ID, 0)
	x.reach = whole
	finds("name", Version{}, newer.ID, 0)
}

// What cannot be told is not taken for the worst: as long as a device is not
// heard, or a snapshot cannot be read, nothing goes.
func TestNothingGoesAsLongAsNotAllIsKnown(t *testing.T) {
	w := newWorld(t, 1)
	a, b := newHome(t, w, 0), newHome(t, w, 1)
	a.removes(t, a.backs(t).ID, true)
	a.sweeps(t)
	w.pass(2 * 24 * time.Hour)
	all := w.packs()
	a.reach = a.reach[:2]
	if s := a.sweeps(t); s.Why == "" || w.packs() != all {
		t.Errorf("no majority is heard: got %+v, %d packs of %d", s, w.packs(), all)
	}
	a.reach = []int{0, 1, 2, 3, 4}
	trashed := b.backs(t) // which this home has never read
	b.removes(t, trashed.ID, false)
	all = w.packs()
	if s := a.sweeps(t); s.Why == "" || w.packs() != all {
		t.Errorf("what a snapshot in the trash needs is not known: got %+v, %d packs of %d", s, w.packs(), all)
	}
	w.pass(8 * 24 * time.Hour)
	if s := a.sweeps(t); s.Why != "" || s.Packs == 0 {
		t.Errorf("it cannot be brought back any more: got %+v", s)
	}
}

// A pack that nobody was seen to need may be another device's, which is making
// a snapshot of it.
func TestPacksOfOthersThatNobodyNeedsYetStay(t *testing.T) {
	w := newWorld(t, 1)
	a, b := newHome(t, w, 0), newHome(t, w, 1)
	if _, err := b.Put(t.Context(), bytes.NewReader(noise(1, 1000)), node.PutOptions{Type: format.PackType}); err != nil {
		t.Fatal(err)
	}
	a.sweeps(t)
	w.pass(29 * 24 * time.Hour)
	if s := a.sweeps(t); s.Packs != 0 || s.Waiting != 1 {
		t.Errorf("after 29 days: got %+v", s)
	}
	w.pass(2 * 24 * time.Hour)
	if s := a.sweeps(t); s.Packs != 1 || w.packs() != 0 {
		t.Errorf("after 31 days: got %+v", s)
	}
}

// Chunks of a pack that is deleted are not used, though the index has them: they
// are put anew, or the pack is brought back.
func TestChunksOfDeletedPacksAreNotUsed(t *testing.T) {
	for name, passes := range map[string]time.Duration{"it can be brought back": time.Hour, "it cannot be": 9 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			a, b := newHome(t, w, 0), newHome(t, w, 1)
			first := a.backs(t)
			b.learn()
			for id, o := range w.objects {
				if o.typ == format.PackType {
					b.removes(t, id, false)
				}
			}
			w.pass(passes)
			second := a.backs(t)
			if anew := second.NewBytes >= second.Bytes; anew != (passes > trashTime) {
				t.Errorf("got %+v", second)
			}
			a.restores(t, second.ID)
			if passes < trashTime {
				a.restores(t, first.ID)
			}
		})
	}
}

// restores restores a snapshot, which must be the tree.
func (x *home) restores(t *testing.T, id datamesh.ObjectID) {
	t.Helper()
	a := x.open(t)
	defer a.Close()
	s, err := a.Find(t.Context(), id.String(), Version{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := tree.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Restore(t.Context(), s, w)
	if err != nil || r.Failed > 0 {
		t.Fatalf("got %+v, %v", r, err)
	}
	want := contents(t, x.files)
	for name, content := range contents(t, dir) {
		if !bytes.Equal(content, want[name]) {
			t.Errorf("%s: other bytes came back", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("%d files did not come back", len(want))
	}
}

// A file that has more chunks than an entry, and one whose chunks repeat, are
// backed up, taken over and restored.
func TestFilesOfManyChunks(t *testing.T) {
	w := newWorld(t, 1)
	a := newHome(t, w, 0)
	a.limits.pack, a.limits.chunks = 1<<20, 1<<14
	large := noise(1, 900_000) // about 2,000 chunks
	a.writes(t, "large", append(large, large...))
	r := a.backs(t)
	if r.NewBytes > 1_300_000 {
		t.Errorf("what is there twice was put twice: got %+v", r)
	}
	a.restores(t, r.ID)
	if again := a.backs(t); again.Read != 0 {
		t.Errorf("got %+v", again)
	} else {
		a.restores(t, again.ID)
	}
}

// Damage to a pack fails the files that need it, and no others; none appears with
// other bytes.
func TestWhatIsNotWhatASnapshotMeansIsNotRestored(t *testing.T) {
	w := newWorld(t, 1)
	a := newHome(t, w, 0)
	r := a.backs(t)
	damaged := 0
	for _, o := range w.objects {
		if o.typ == format.PackType && damaged == 0 {
			o.content[len(o.content)-1] ^= 1
			damaged++
		}
	}
	x := a.open(t)
	defer x.Close()
	s, err := x.Find(t.Context(), r.ID.String(), Version{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out, err := tree.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.Restore(t.Context(), s, out)
	if err != nil || got.Failed == 0 || got.Failed == 4 || got.Failed != len(got.Failures) || int(got.Files)+got.Failed != 4 {
		t.Errorf("got %+v, %v", got, err)
	}
	want := contents(t, a.files)
	restored := contents(t, dir)
	if len(restored) != int(got.Files) {
		t.Errorf("%d files are there, want %d", len(restored), got.Files)
	}
	for name, content := range restored {
		if !bytes.Equal(content, want[name]) {
			t.Errorf("%s has other bytes", name)
		}
	}
	if v, err := x.Restore(t.Context(), s, nil); err != nil || v.Failed != got.Failed {
		t.Errorf("verify: got %+v, %v", v, err)
	}
}

// Content is cut by the keys, and a change in it is a change of few chunks.
func TestCutsAreTheOwners(t *testing.T) {
	cuts := func(key [32]byte, content []byte) (lengths []int) {
		a := &Archive{keys: Keys{Cuts: key}, limits: limits{least: format.MinChunk, average: format.AverageChunk, most: format.MaxChunk}}
		c, err := a.newCutter()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.cut(io.MultiReader(bytes.NewReader(content)), func(b []byte) error {
			lengths = append(lengths, len(b))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return lengths
	}
	content := noise(1, 64<<20)
	one, other := cuts([32]byte{1}, content), cuts([32]byte{2}, content)
	if fmt.Sprint(one) == fmt.Sprint(other) || fmt.Sprint(one) != fmt.Sprint(cuts([32]byte{1}, content)) {
		t.Errorf("%v\n%v", one, other)
	}
	for _, all := range [][]int{one, other} {
		if n := len(all); n < 40 || n > 90 {
			t.Errorf("64 MiB are %d chunks: %v", n, all)
		}
		for i, n := range all {
			if n > format.MaxChunk || n < format.MinChunk && i < len(all)-1 {
				t.Errorf("chunk %d has %d bytes", i, n)
			}
		}
	}
	// As the first program has cut it: whoever cuts otherwise shares nothing with
	// what is stored.
	if got := fmt.Sprint(one[:6]); got != wantCuts {
		t.Errorf("content is cut at %s, was at %s", got, wantCuts)
	}
}

const wantCuts = "[1174570 1269215 1049349 351215 1145423 1540865]"

// A snapshot that another device has finished between when a device heard all and
// when it has a pack deleted keeps the pack: who deletes hears all once more, and
// if he dies before that, at the next occasion, or whoever is there does it.
func TestSnapshotThatIsMadeMeanwhileKeepsItsPacks(t *testing.T) {
	for name, dies := range map[string]bool{"who deletes lives": false, "who deletes dies": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			a, b := newHome(t, w, 0), newHome(t, w, 1)
			r := a.backs(t)
			snapshot := w.objects[r.ID].content
			a.removes(t, r.ID, true)
			a.sweeps(t)
			w.pass(25 * time.Hour)
			all := w.packs()
			made := false
			a.hook = func() { // before each operation
				if w.doomed(a) && !made {
					made = true
					if _, err := b.Put(t.Context(), bytes.NewReader(snapshot), node.PutOptions{Type: format.SnapshotType, Name: "b"}); err != nil {
						t.Error(err)
					}
					if dies {
						a.crashAt = 2 // says the word, and no more
					}
				}
			}
			x := a.open(t)
			s, err := x.Sweep(t.Context())
			x.Close()
			a.hook, a.crashAt = nil, 0
			if dies {
				if err == nil || w.packs() == all {
					t.Fatalf("got %+v, %v, %d packs of %d", s, err, w.packs(), all)
				}
				w.pass(3 * 24 * time.Hour)
				if w.random.IntN(2) == 0 {
					a.sweeps(t)
				} else {
					b.sweeps(t)
				}
			} else if err != nil || s.Back == 0 {
				t.Errorf("got %+v, %v", s, err)
			}
			w.pass(10 * 24 * time.Hour)
			if !made || w.packs() != all {
				t.Errorf("%d packs are left of %d", w.packs(), all)
			}
		})
	}
}

// doomed reports whether the catalog of a device has a pack as deleted.
func (w *world) doomed(x *home) bool {
	for _, c := range x.catalog {
		if c.typ == format.PackType && !c.deleted.IsZero() {
			return true
		}
	}
	return false
}

// Many entries of which there is little to say are backed up like others.
func TestManySmallEntries(t *testing.T) {
	w := newWorld(t, 1)
	a := newHome(t, w, 0)
	for i := range 1200 {
		a.writes(t, fmt.Sprint(i), nil)
	}
	a.restores(t, a.backs(t).ID)
	if again := a.backs(t); again.Files != 1204 {
		t.Errorf("got %+v", again)
	}
}

// What cannot be read is built on by no backup: it is said, and with force put
// anew, also by a home that knows it from snapshots alone.
func TestLostPacksArePutAnewWithForce(t *testing.T) {
	w := newWorld(t, 1)
	x := newHome(t, w, 1)
	first := x.backs(t)
	for _, o := range w.objects {
		o.lost = o.typ == format.PackType
	}
	run := func(x *home, force bool) (*Result, error) {
		t.Helper()
		a := x.open(t)
		defer a.Close()
		source, err := tree.Open(x.files, tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		return a.Run(t.Context(), source, RunOptions{Name: "name", Force: force})
	}
	if r, err := run(x, false); !errors.Is(err, errUnsound) || errs.KindOf(err) != errs.Unavailable {
		t.Errorf("got %+v, %v, want that packs cannot be read", r, err)
	}
	r, err := run(x, true)
	if err != nil || r.NewBytes < first.Bytes || r.Survives != 2 {
		t.Fatalf("got %+v, %v, want all anew", r, err)
	}
	if err := os.RemoveAll(x.dir); err != nil { // what is known of backups
		t.Fatal(err)
	}
	if r, err = run(x, true); err != nil || r.Survives != 2 {
		t.Errorf("with an index anew: %+v, %v", r, err)
	}
	if r := x.backs(t); r.NewBytes > first.Bytes/2 {
		t.Errorf("got %+v, want what is there to be used", r)
	}
}

// A backup tells of each file once, whether it was read or known, and a restore and
// a check of all that they have said they would.
func TestProgressAddsUp(t *testing.T) {
	x := newHome(t, newWorld(t, 1), 0)
	x.writes(t, "empty", nil)
	var total, done [2]int64
	var snapshot *Result
	told := func(step string) {
		t.Helper()
		if want := [2]int64{snapshot.Files, snapshot.Bytes}; done != want || total != want && total != [2]int64{} {
			t.Errorf("%s: %v done of %v, want %v", step, done, total, want)
		}
		total, done = [2]int64{}, [2]int64{}
	}
	open := func() *Archive {
		a := x.open(t)
		a.Events.Total = func(files, bytes int64) { total = [2]int64{files, bytes} }
		a.Events.Done = func(files, bytes int64) { done[0], done[1] = done[0]+files, done[1]+bytes }
		return a
	}
	a := open()
	defer a.Close()
	source, err := tree.Open(x.files, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for _, step := range []string{"a backup", "one of what is known"} {
		if snapshot, err = a.Run(t.Context(), source, RunOptions{Name: "name"}); err != nil || snapshot.Failed > 0 || snapshot.Bytes == 0 {
			t.Fatalf("got %+v, %v", snapshot, err)
		}
		told(step)
	}
	out := t.TempDir()
	for _, step := range []string{"a restore", "one of what is there", "a check"} {
		var w *tree.Writer
		if step != "a check" {
			if w, err = tree.Create(out); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Restore(t.Context(), Snapshot{ID: snapshot.ID, Name: "name"}, w); err != nil {
			t.Fatal(err)
		}
		if total == [2]int64{} {
			t.Errorf("%s says not how much there is", step)
		}
		told(step)
	}
}
