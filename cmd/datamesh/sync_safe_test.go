//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/mirror"
	"datamesh/internal/tree"
)

// twoInSync returns two homes of one owner whose directories are the same.
func twoInSync(t *testing.T, files ...string) (w *syncWorld, here, there *syncHome) {
	t.Helper()
	w = &syncWorld{t: t, clock: time.Unix(2e9, 0).UTC(), given: map[string]bool{}, deleted: map[string]bool{}, deletedText: map[string]bool{}}
	base := t.TempDir()
	homes := make([]*syncHome, 2)
	for i := range homes {
		homes[i] = &syncHome{w: w, dir: filepath.Join(base, fmt.Sprint("dir", i)), memory: filepath.Join(base, fmt.Sprint("memory", i)), heard: map[datamesh.ObjectID]bool{}}
	}
	here, there = homes[0], homes[1]
	for _, f := range files {
		writeAt(t, filepath.Join(there.dir, f), "content of "+f, 2e9)
	}
	if b := there.syncs(t); len(b.Warnings) > 0 || b.Stored != len(files)+1 {
		t.Errorf("got %+v", b)
	}
	if last, _, err := mirror.Look(t.Context(), there.memory, there.dir, "top"); err != nil || len(last) != len(files)+1 {
		t.Errorf("it remembers %d of %d, %v", len(last), len(files)+1, err)
	}
	here.syncs(t)
	return w, here, there
}

// syncs runs a sync that is not refused.
func (h *syncHome) syncs(t *testing.T) *batch {
	t.Helper()
	b, err := h.sync(0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// deletes removes files as their user, in a home that then says so.
func (h *syncHome) deletes(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		h.w.deleted[f], h.w.deletedText["content of "+f] = true, true
		if err := os.Remove(filepath.Join(h.dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	h.syncs(t)
}

// has tells whether a file is here, and whether the mesh has it.
func (h *syncHome) has(name string) (here, mesh bool) {
	_, err := os.Lstat(filepath.Join(h.dir, name))
	return err == nil, len(h.w.live("top/"+name, func(o *syncObject) bool { return !o.gone && !o.forgot })) > 0
}

func (h *syncHome) wants(t *testing.T, what, name string, here, mesh bool) {
	t.Helper()
	if isHere, inMesh := h.has(name); isHere != here || inMesh != mesh {
		t.Errorf("%s: %s is here: %v, want %v; in the mesh: %v, want %v", what, name, isHere, here, inMesh, mesh)
	}
}

func warns(b *batch, part string) bool {
	return slices.ContainsFunc(b.Warnings, func(w string) bool { return strings.Contains(w, part) })
}

// What is not in the list any more, and was not deleted, is put anew: what is here
// may be the last that there is. What was deleted or renamed goes.
func TestSyncPutsAnewWhatIsForgotten(t *testing.T) {
	w, here, there := twoInSync(t, "forgotten", "deleted", "renamed", "kept")
	for _, o := range w.objects {
		switch o.Name {
		case "top/forgotten":
			o.forgot = true
		case "top/renamed":
			o.Name = "elsewhere"
		}
	}
	w.deleted["deleted"], w.deletedText["content of deleted"] = true, true
	if err := os.Remove(filepath.Join(there.dir, "deleted")); err != nil {
		t.Fatal(err)
	}
	there.syncs(t)
	there.wants(t, "where it was deleted", "deleted", false, false)
	here.syncs(t)
	for _, h := range []*syncHome{here, there} {
		h.wants(t, "forgotten", "forgotten", true, true)
		h.wants(t, "deleted", "deleted", false, false)
		h.wants(t, "renamed", "renamed", false, false)
		h.wants(t, "neither", "kept", true, true)
	}
}

// While not all is known that other homes have said nothing is deleted on any side.
func TestSyncDeletesNothingIfSomethingIsMissing(t *testing.T) {
	w, here, there := twoInSync(t, "a", "b", "c")
	there.deletes(t, "a")
	w.deleted["b"], w.deletedText["content of b"] = true, true
	if err := os.Remove(filepath.Join(here.dir, "b")); err != nil {
		t.Fatal(err)
	}
	here.partial = true
	if b := here.syncs(t); !warns(b, "nothing is deleted: 2 files") {
		t.Errorf("it does not say so: %q", b.Warnings)
	}
	here.wants(t, "deleted there", "a", true, false)
	here.wants(t, "deleted here", "b", false, true)
	here.partial = false
	here.syncs(t)
	here.wants(t, "deleted there, once all is known", "a", false, false)
	here.wants(t, "deleted here, once all is known", "b", false, false)
}

// If a file of a run has failed, nothing is deleted: it may be that of another name.
func TestSyncDeletesNothingIfSomethingFailed(t *testing.T) {
	w, here, there := twoInSync(t, "old", "gone there", "kept")
	there.deletes(t, "gone there")
	w.deleted["old"], w.deletedText["content of old"] = true, true
	if err := os.Rename(filepath.Join(here.dir, "old"), filepath.Join(here.dir, "new")); err != nil {
		t.Fatal(err)
	}
	here.putting = func(name string) error {
		if name == "new" {
			return errs.New(errs.IO, "it cannot be read")
		}
		return nil
	}
	if b := here.syncs(t); b.Failed != 1 || !warns(b, "nothing is deleted") {
		t.Errorf("got %+v", b)
	}
	here.wants(t, "renamed, and not put", "old", false, true)
	here.wants(t, "deleted there", "gone there", true, false)
	here.putting = nil
	here.syncs(t)
	here.wants(t, "renamed", "old", false, false)
	here.wants(t, "renamed", "new", true, true)
	here.wants(t, "deleted there", "gone there", false, false)

	// What cannot be written here is renamed there, too.
	w.deleted["new"], w.deletedText["content of old"] = true, true
	there.syncs(t)
	if err := os.Rename(filepath.Join(there.dir, "new"), filepath.Join(there.dir, "newer")); err != nil {
		t.Fatal(err)
	}
	there.syncs(t)
	here.during = func(name string) { writeAt(t, filepath.Join(here.dir, "newer"), "in the way", 3e9) }
	if b := here.syncs(t); b.Failed != 1 {
		t.Errorf("got %+v", b)
	}
	here.wants(t, "renamed there, and not written", "new", true, false)
}

// What comes to be here again while a sync runs is not deleted in the mesh.
func TestSyncLooksAgainBeforeItDeletes(t *testing.T) {
	_, here, _ := twoInSync(t, "a", "b")
	if err := os.Remove(filepath.Join(here.dir, "a")); err != nil {
		t.Fatal(err)
	}
	writeAt(t, filepath.Join(here.dir, "b"), "changed", 3e9)
	here.putting = func(string) error {
		writeAt(t, filepath.Join(here.dir, "a"), "again", 3e9)
		return nil
	}
	if b := here.syncs(t); b.Failed != 1 {
		t.Errorf("got %+v", b)
	}
	here.wants(t, "it came back", "a", true, true)
}

// What was put is remembered once it is on the disk here, and not if it is gone.
func TestSyncRemembersWhatIsDurableHere(t *testing.T) {
	_, here, _ := twoInSync(t, "a")
	writeAt(t, filepath.Join(here.dir, "b"), "changed", 3e9)
	here.putting = func(name string) error {
		if name == "b" {
			return os.Remove(filepath.Join(here.dir, "b"))
		}
		return nil
	}
	if b := here.syncs(t); !warns(b, "compared again") {
		t.Errorf("got %+v", b)
	}
	last, _, err := mirror.Look(t.Context(), here.memory, here.dir, "top")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := last["b"]; ok || len(last) == 0 {
		t.Errorf("it remembers %+v", last)
	}
	here.putting = nil
	here.syncs(t) // without a memory of it nothing is a deletion
	here.wants(t, "it comes back", "b", true, true)
}

// Another directory in the place of the one that was synced, as when its disk is not
// mounted and something has come to be there, deletes nothing unless its user says
// that it may, and is the one that is known from then on.
func TestSyncKnowsItsDirectory(t *testing.T) {
	_, here, _ := twoInSync(t, "a", "b", "c")
	here.guarded = true
	here.syncs(t) // what it has made is known since
	moved := here.dir + ".disk"
	replace := func() {
		t.Helper()
		if err := os.Rename(here.dir, moved); err != nil {
			t.Fatal(err)
		}
		writeAt(t, filepath.Join(here.dir, "a"), "content of a", 2e9)
	}
	replace()
	for range 2 {
		if b, err := here.sync(0); errs.KindOf(err) != errs.Refused || !strings.Contains(errs.HintFor(err), "--max-delete 2") || b.deleted > 0 {
			t.Errorf("got %v, and the hint %q", err, errs.HintFor(err))
		}
	}
	if err := os.RemoveAll(here.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(moved, here.dir); err != nil { // mounted again
		t.Fatal(err)
	}
	here.deletes(t, "b")
	here.wants(t, "deleted in the one that is known", "b", false, false)
	replace()
	here.w.deleted["c"], here.w.deletedText["content of c"] = true, true
	here.guarded = false
	if b := here.syncs(t); b.deleted != 1 {
		t.Errorf("with --max-delete: %+v", b)
	}
	here.guarded = true
	writeAt(t, filepath.Join(here.dir, "e"), "content of e", 2e9)
	here.deletes(t, "a")
	here.wants(t, "deleted once the other is known", "a", false, false)
}

// Nothing is written into a directory that took the place of the one that was looked at.
func TestSyncWritesIntoTheDirectoryThatItLookedAt(t *testing.T) {
	_, here, there := twoInSync(t, "a")
	writeAt(t, filepath.Join(there.dir, "b"), "content of b", 2e9)
	there.syncs(t)
	writeAt(t, filepath.Join(here.dir, "c"), "content of c", 2e9)
	moved := here.dir + ".disk"
	var once sync.Once // of several that are put at a time
	here.putting = func(string) (err error) {
		once.Do(func() { err = errors.Join(os.Rename(here.dir, moved), os.Mkdir(here.dir, 0o755)) })
		return err
	}
	if _, err := here.sync(0); errs.KindOf(err) != errs.Exists {
		t.Errorf("got %v", err)
	}
	here.wants(t, "written", "b", false, true)
	if err := errors.Join(os.Remove(here.dir), os.Rename(moved, here.dir)); err != nil {
		t.Fatal(err)
	}
	here.syncs(t)
	here.wants(t, "written", "b", true, true)
	here.wants(t, "stored", "c", true, true)
}

// What backups keep in the mesh is no file: it is neither written here nor deleted.
func TestSyncLeavesBackupsAlone(t *testing.T) {
	w, here, there := twoInSync(t, "a", "b")
	add := func(id byte, name, kind string) {
		x := &syncObject{content: kind}
		x.ID, x.Name, x.Type, x.Created = datamesh.ObjectID{id}, name, kind, time.Unix(3e9, 0)
		w.objects = append(w.objects, x)
	}
	add(0xa1, "top", format.SnapshotType)
	add(0xa2, "top/snapshot", format.SnapshotType)
	add(0xa3, "top/a", format.SnapshotType)
	add(0xa4, "top/pack", format.PackType)
	there.deletes(t, "b")
	here.syncs(t)
	here.wants(t, "deleted", "b", false, false)
	here.wants(t, "a snapshot", "snapshot", false, true)
	here.wants(t, "a pack", "pack", false, true)
	for _, o := range w.objects {
		if o.gone && o.Name != "top/b" {
			t.Errorf("%s is deleted", o.Name)
		}
	}
}

// The home is left out of a directory, by whatever path, and no directory that
// lies in it is taken.
func TestTheHomeIsLeftOut(t *testing.T) {
	base := t.TempDir()
	home := filepath.Join(base, "d", "a [b]", "home")
	if err := errors.Join(os.MkdirAll(filepath.Join(home, "identities"), 0o700), os.Symlink(filepath.Join(base, "d"), filepath.Join(base, "link")),
		os.Symlink(home, filepath.Join(base, "d", "link"))); err != nil {
		t.Fatal(err)
	}
	writeAt(t, filepath.Join(home, "identity"), "secret", 2e9)
	writeAt(t, filepath.Join(base, "d", "a b", "home"), "another", 2e9)
	writeAt(t, filepath.Join(base, "d", tree.IgnoreFile), "!home\n", 2e9)
	for _, dir := range []string{home, filepath.Join(home, "identities"), filepath.Join(base, "link", "a [b]", "home"), filepath.Join(home, "new", "er")} {
		if _, _, err := leaveOut(tree.Options{}, dir, home); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, dir := range []string{filepath.Join(base, "d"), filepath.Join(base, "link"), base, filepath.Join(base, "d", "a [b]")} {
		filter, lies, err := leaveOut(tree.Options{Exclude: []string{"!home"}}, dir, home)
		if err != nil || !lies {
			t.Fatal(lies, err)
		}
		opened, err := openSync(syncOptions{dir: dir, filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		n := 0
		for e, err := range opened.Walk(t.Context()) {
			if n++; err != nil || strings.Contains(e.Path, "[b]/home") || strings.HasPrefix(e.Path, "home") {
				t.Errorf("%s: %s is there; %v", dir, e.Path, err)
			}
		}
		if dir != filepath.Join(base, "d", "a [b]") && n < 5 {
			t.Errorf("%s: %d entries", dir, n)
		}
	}
	if o, lies, err := leaveOut(tree.Options{}, filepath.Join(base, "d", "a b"), home); err != nil || lies || len(o.Exclude) != 0 {
		t.Errorf("one that it does not lie in: %q, %v", o.Exclude, err)
	}
}
