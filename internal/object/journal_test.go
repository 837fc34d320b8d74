package object

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

// sweep has the user's leftovers deleted. Known are the objects of the catalog.
func (u *user) sweep(known ...datamesh.ObjectID) int {
	u.t.Helper()
	n, err := u.journal.Sweep(u.t.Context(), u.w, func(id datamesh.ObjectID) (bool, error) { return slices.Contains(known, id), nil })
	if err != nil {
		u.t.Errorf("sweep: %v", err)
	}
	return n
}

// files returns the journals in the user's home.
func (u *user) files() []string {
	u.t.Helper()
	names, err := filepath.Glob(filepath.Join(u.dir, "*"+journalSuffix))
	if err != nil {
		u.t.Fatal(err)
	}
	return names
}

// die puts content and dies at the moment when commit is called.
func (u *user) die(content []byte, opt PutOptions) (id datamesh.ObjectID) {
	u.t.Helper()
	died := errors.New("died")
	func() {
		defer func() {
			if r := recover(); r != died {
				u.t.Fatalf("it did not come to the commit: %v", r)
			}
		}()
		u.Put(u.t.Context(), bytes.NewReader(content), opt, func(r PutResult) error {
			id = r.ID
			panic(died)
		})
	}()
	u.crash()
	return id
}

func TestLeftoversOfACrashAreDeletedByTheNextProcess(t *testing.T) {
	for _, n := range []int{10, 300_000} {
		u := newUser(t, newWorld(t, 6))
		u.content = 70_000
		u.die(noise(1, n), options)
		if len(u.files()) != 1 {
			t.Fatalf("journals %v, want one", u.files())
		}
		if swept, want := u.sweep(), 1+(n+69_999)/70_000; n > 10 && swept != want || swept == 0 {
			t.Errorf("%d segments were swept, want %d", swept, want)
		}
		u.clean()
	}
}

func TestCommittedObjectIsNeverSwept(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := noise(1, 300_000)
	id := u.die(content, options) // between the commit and the end of the put
	if swept := u.sweep(id); swept != 0 {
		t.Errorf("%d segments were swept", swept)
	}
	u.get(id, content)
	if files := u.files(); len(files) > 0 {
		t.Errorf("journals %v, want none", files)
	}
}

func TestSweepThatCannotAskTheCatalogDeletesNothing(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := noise(1, 300_000)
	id := u.die(content, options)
	_, err := u.journal.Sweep(t.Context(), u.w, func(datamesh.ObjectID) (bool, error) { return false, errTest })
	if !errors.Is(err, errTest) {
		t.Errorf("sweep: %v", err)
	}
	u.get(id, content)
}

func TestRunningPutsAreNotSwept(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	content := noise(1, 300_000)
	other := NewJournal(u.dir, testResume)
	defer other.Close()
	result, err := u.Put(t.Context(), bytes.NewReader(content), options, func(PutResult) error {
		for _, j := range []*Journal{u.journal, other} {
			if n, err := j.Sweep(t.Context(), u.w, func(datamesh.ObjectID) (bool, error) { return false, nil }); n != 0 || err != nil {
				t.Errorf("sweep: %d, %v", n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	u.get(result.ID, content)
}

// What could not be reached is swept later, by the same process too.
func TestLeftoversOfAFailedPutAreSweptWhenTheirHolderIsBack(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t, 6)
		u := newUser(t, w)
		_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 300_000)), options, func(PutResult) error {
			w.kill(w.members[1], w.members[3])
			return errTest
		})
		if !errors.Is(err, errTest) {
			t.Fatalf("put: %v", err)
		}
		if len(w.members[1].holds(t)) == 0 || len(w.members[0].holds(t)) > 0 {
			t.Errorf("the dead have %d shards, the others %d", len(w.members[1].holds(t)), len(w.members[0].holds(t)))
		}
		if restart {
			if err := u.journal.Close(); err != nil {
				t.Fatal(err)
			}
			u.begin()
		}
		drops := w.members[1].called(storetest.Drop)
		if swept := u.sweep(); swept != 0 {
			t.Errorf("%d segments were swept while their holder is dead", swept)
		}
		if got := w.members[1].called(storetest.Drop); got != drops {
			t.Errorf("a member that is dead was asked %d times more", got-drops)
		}
		for _, m := range w.members {
			m.set(storetest.None)
		}
		w.see(nil)
		if swept := u.sweep(); swept == 0 {
			t.Error("nothing was swept")
		}
		u.clean()
	}
}

func TestLeftoversOfForgottenMembersAreGivenUp(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.die(noise(1, 300_000), options)
	gone := w.members[5]
	w.members = w.members[:5]
	w.see(nil)
	if swept := u.sweep(); swept != 0 { // the table may be older than the member
		t.Errorf("%d segments were given up at once", swept)
	}
	long := time.Now().Add(-forgetTime)
	if err := os.Chtimes(u.files()[0], long, long); err != nil {
		t.Fatal(err)
	}
	if swept := u.sweep(); swept == 0 {
		t.Error("nothing was swept")
	}
	u.clean()
	if len(gone.holds(t)) == 0 {
		t.Error("the forgotten member was asked")
	}
}

func TestRecordsAreOnTheDiskBeforeAnyShardIsSent(t *testing.T) {
	w := newWorld(t, 9)
	u := newUser(t, w)
	u.content = 70_000
	var mu sync.Mutex // guards checked
	checked := 0
	for i, m := range w.members {
		m.do(func(method storetest.Method, key datamesh.ShardKey) storetest.Fault {
			if method != storetest.Put {
				return storetest.None
			}
			mu.Lock()
			defer mu.Unlock()
			checked++
			if !u.journaled(key.Segment, m.id) {
				t.Errorf("a shard is sent to member %d without a record", i)
			}
			if i%3 == 0 {
				return storetest.Fail // and so others are asked
			}
			return storetest.None
		})
	}
	result := u.put(noise(1, 500_000), options)
	if checked < result.Shards {
		t.Errorf("%d checked of %d", checked, result.Shards)
	}
}

// journaled reports whether the user's journal has it that a peer is sent
// shards of a segment, and could have them deleted.
func (u *user) journaled(segment datamesh.SegmentID, peer datamesh.PeerID) bool {
	for _, name := range u.files() {
		puts, err := readJournal(name)
		if err != nil {
			u.t.Error(err)
		}
		for _, what := range puts {
			if l := what[segment]; l != nil && slices.Contains(l.peers, peer) && format.VerifyDeletion(l.deletion) == nil {
				return true
			}
		}
	}
	return false
}

// Who becomes a registrar while a put is on its way is told of segments that
// were journaled before, and has to be asked to forget them too.
func TestRegistrarsOfTheLastMomentAreInTheJournal(t *testing.T) {
	w := newWorld(t, 7)
	late := w.members[6]
	w.see([]*member{late})
	u := newUser(t, w)
	u.content = 70_000
	for _, m := range w.members[:6] {
		m.do(func(storetest.Method, datamesh.ShardKey) storetest.Fault {
			if len(w.members[0].holds(t)) > 0 {
				w.see(nil)
			}
			return storetest.None
		})
	}
	u.die(noise(1, 300_000), options)
	told := len(late.registry)
	if told < 2 {
		t.Fatalf("the late member was told of %d segments", told)
	}
	u.sweep()
	if got := late.called(storetest.Drop); got < told {
		t.Errorf("%d of the %d segments were deleted there", got, told)
	}
	u.clean()
}

// wholeRecords returns those at the head of b.
func wholeRecords(b []byte) (all []*record) {
	for r := range records(bytes.NewReader(b)) {
		all = append(all, r)
	}
	return all
}

func TestJournalOfANewerVersionIsLeftToIt(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	u.die(noise(1, 300_000), options)
	name := u.files()[0]
	body := format.Marshal(map[int]any{1: journalVersion + 1, 2: "another form"})
	sum := hash.Shard(body)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b = append(append(append(b, 0, 0, 0, byte(len(body))), sum[:checkLen]...), body...)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	u.die(noise(2, 300_000), options) // in a file of its own, which is swept
	swept, err := u.journal.Sweep(t.Context(), u.w, func(datamesh.ObjectID) (bool, error) { return false, nil })
	wantKind(t, "sweep", err, errs.Configuration)
	if hint := errs.HintFor(err); !strings.Contains(hint, "update datamesh") {
		t.Errorf("hint %q", hint)
	}
	if files := u.files(); swept == 0 || len(files) != 1 || files[0] != name {
		t.Errorf("%d segments were swept, and journals %v left, want %s", swept, files, name)
	}
	if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, b) {
		t.Errorf("it was changed: %d of %d bytes, %v", len(now), len(b), err)
	}
}

func TestTornEndOfAJournalLosesNoWholeRecord(t *testing.T) {
	w := newWorld(t, 6)
	u := newUser(t, w)
	u.content = 70_000
	u.die(noise(1, 200_000), options)
	name := u.files()[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := wholeRecords(whole)
	var ends []int
	for n, r := 0, bytes.NewReader(whole); ; ends = append(ends, n) {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			break
		}
		n += 4 + checkLen + int(head[2])<<8 + int(head[3])
		r.Reset(whole[n:])
	}
	if len(want) < 4 || len(ends) != len(want) {
		t.Fatalf("%d records, %d of them whole", len(ends), len(want))
	}
	for cut := 0; cut <= len(whole); cut += 7 {
		complete := 0
		for complete < len(ends) && ends[complete] <= cut {
			complete++
		}
		for what, torn := range map[string][]byte{
			"cut":       whole[:cut],
			"zeroed":    append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...),
			"scrambled": append(bytes.Clone(whole[:cut]), noise(9, 100)...),
		} {
			if got := wholeRecords(torn); len(got) != complete {
				t.Fatalf("%s at %d of %d: %d records, want %d", what, cut, len(whole), len(got), complete)
			}
		}
	}
	if err := os.WriteFile(name, append(whole, 1, 2, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	u.sweep()
	u.clean()
}

// A signed deletion of what is stored would be a weapon for whoever reads it.
func TestNoDeletionOfAStoredObjectIsKept(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	for i := range uint64(2) {
		u.put(noise(i, 300_000), options)
		if b, err := os.ReadFile(u.files()[0]); err != nil || len(b) > 0 {
			t.Errorf("after put %d the journal has %d bytes, %v", i, len(b), err)
		}
	}
}

// The file shrinks when no put is on its way, and never under one.
func TestJournalShrinksAndKeepsWhatIsUnderWay(t *testing.T) {
	u := newUser(t, newWorld(t, 1))
	s := storetest.Segment(t, 1, 2, 1, 1000)
	many := make([]datamesh.PeerID, 1000) // so that few puts fill the file
	for i := range many {
		many[i] = datamesh.PeerID{byte(i), byte(i >> 8)}
	}
	begin := func(i, j int) (*entry, *datamesh.Deletion) {
		d := *s.Descriptor
		d.Segment[0], d.Segment[1] = byte(i), byte(j)
		del := &datamesh.Deletion{Descriptor: &d}
		e := u.journal.begin()
		if err := e.segment(leftover{deletion: del}, slices.Clone(many)); err != nil {
			t.Errorf("segment: %v", err)
		}
		return e, del
	}
	has := func(del *datamesh.Deletion) bool {
		b, err := os.ReadFile(u.files()[0])
		if err != nil {
			t.Error(err)
		}
		return bytes.Contains(b, del.Descriptor.Segment[:])
	}
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for j := range 25 {
				e, del := begin(i, j)
				if !has(del) {
					t.Error("the record of a put that is under way is gone")
				}
				e.end()
			}
		})
	}
	wait.Wait()
	info, err := os.Stat(u.files()[0])
	if err != nil || info.Size() > 2<<20 {
		t.Errorf("the journal has %d bytes, %v", info.Size(), err)
	}
	_, last := begin(9, 9)
	u.crash()
	if !has(last) {
		t.Error("the last record is gone")
	}
}

func TestFullDiskStopsThePutBeforeAnythingIsSent(t *testing.T) {
	w := newWorld(t, 3)
	u := newUser(t, w)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u.journal = NewJournal(filepath.Join(file, "puts"), testResume) // where no folder can be
	u.Objects = New(w, u.Objects.keys, u.journal, testGrace)
	_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 300_000)), options, commit)
	wantKind(t, "put", err, errs.IO)
	for _, m := range w.members {
		if m.called(storetest.Put) > 0 {
			t.Error("a shard was sent without a journal")
		}
	}
}

// A file that could not be written is not trusted again; another one is.
func TestPutAfterAFailureOfTheJournalBeginsANewFile(t *testing.T) {
	for _, left := range []bool{false, true} {
		w := newWorld(t, 6)
		u := newUser(t, w)
		content := noise(1, 300_000)
		_, err := u.Put(t.Context(), bytes.NewReader(content), options, func(PutResult) error {
			u.journal.files[0].file.Close() // no record will be written any more
			if e := u.journal.begin(); true {
				d := storetest.Segment(t, 1, 2, 1, 10)
				wantKind(t, "record", e.segment(leftover{deletion: d.Deletion(1)}, nil), errs.IO)
				e.end()
			}
			if left {
				w.kill(w.members[1], w.members[3])
			}
			return errTest
		})
		if !errors.Is(err, errTest) {
			t.Fatalf("put: %v", err)
		}
		want := 1 // that of the next put
		if left {
			want = 2
		}
		result := u.put(content, options)
		if files := u.files(); len(files) != want {
			t.Errorf("journals %v, want %d", files, want)
		}
		for _, m := range w.members {
			m.set(storetest.None)
		}
		w.see(nil)
		u.sweep(result.ID)
		u.get(result.ID, content)
		if err := u.journal.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if files, err := os.ReadDir(u.dir); err != nil || len(files) > 0 {
			t.Errorf("the journal has left %v, %v", files, err)
		}
	}
}

func TestUndoDoesNotTakeForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		u := newUser(t, w)
		began := time.Now()
		_, err := u.Put(t.Context(), bytes.NewReader(noise(1, 1000)), options, func(PutResult) error {
			for _, m := range w.members {
				m.set(storetest.Stall)
			}
			return errTest
		})
		if !errors.Is(err, errTest) {
			t.Errorf("put: %v", err)
		}
		if took := time.Since(began); took > undoTime {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := u.journal.Sweep(ctx, w, func(datamesh.ObjectID) (bool, error) { return false, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("sweep: %v", err)
		}
		u.journal.Close()
	})
}

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

// journalRecords has a record of each form.
func journalRecords(t testing.TB) []record {
	s := storetest.Segment(t, 1, 2, 1, 10)
	return []record{
		{Version: journalVersion, Put: 7, Segment: s.Segment, Deletion: format.EncodeDeletion(s.Deletion(1)), Peers: []datamesh.PeerID{{1}, {2}}},
		{Version: journalVersion, Put: 7, Segment: s.Segment, Peers: []datamesh.PeerID{{3}}},
		{Version: journalVersion, Put: 7, End: true},
	}
}

// keptRecords has a record of each form that a put which can be resumed adds.
func keptRecords(t testing.TB) []record {
	first := journalRecords(t)[0]
	return []record{
		first,
		{Version: journalVersion, Put: 7, Segment: first.Segment, Source: bytes.Repeat([]byte{9}, 32), Place: 3, Kept: []byte("sealed"), Time: 1_800_000_000},
		{Version: journalVersion, Put: 7, Segment: first.Segment, Given: true},
	}
}

// fixedJournal writes records to a journal and returns its bytes.
func fixedJournal(t testing.TB, list []record) []byte {
	f := &journalFile{dir: t.TempDir()}
	for _, r := range list {
		if _, err := f.write(r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(f.file.Name())
	if err == nil {
		err = f.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJournalKeepsItsBytes(t *testing.T) {
	for name, list := range map[string][]record{"journal.v1": journalRecords(t), "journal-kept.v1": keptRecords(t)} {
		b := fixedJournal(t, list)
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: %d bytes, other than the %d that were fixed", name, len(b), len(want))
		}
		var got []record
		for r := range records(bytes.NewReader(want)) {
			got = append(got, *r)
		}
		if diff := cmp.Diff(list, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// FuzzRecords reads whatever a disk may give. Each record has one encoding.
func FuzzRecords(f *testing.F) {
	f.Add(fixedJournal(f, keptRecords(f)))
	b := fixedJournal(f, journalRecords(f))
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for r, err := range records(bytes.NewReader(b)) {
			if err != nil {
				break
			}
			body := format.Marshal(r)
			sum := hash.Shard(body)
			again = append(again, byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
			again = append(append(again, sum[:checkLen]...), body...)
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("%x is read, and written as %x", b, again)
		}
		name := filepath.Join(t.TempDir(), "x"+journalSuffix)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		puts, err := readJournal(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range puts {
			for id, l := range what {
				if l.deletion.Descriptor.Segment != id || format.VerifyDeletion(l.deletion) != nil {
					t.Errorf("a deletion that its owner did not sign")
				}
			}
		}
	})
}
