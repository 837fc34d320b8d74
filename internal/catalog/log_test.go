package catalog_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

var catalogKey = [32]byte{7}

// A record is what a mesh has of a device.
type record struct {
	device    catalog.DeviceID
	seq, base uint64
	sealed    string
}

// A cloud keeps what devices send, as registrars and holders do.
type cloud struct {
	t       testing.TB
	records map[record]bool
	runs    map[datamesh.ObjectID][]byte
	sent    int // bytes of records and runs
	reads   int
}

func newCloud(t testing.TB) *cloud {
	return &cloud{t: t, records: map[record]bool{}, runs: map[datamesh.ObjectID][]byte{}}
}

// take keeps a record, and reports whether there is another of its number.
func (c *cloud) take(r record) (another bool) {
	for x := range c.records {
		if x.device != r.device {
			continue
		}
		if x.base >= r.seq {
			return true
		}
		another = another || x.seq == r.seq && x != r
	}
	c.records[r] = true
	c.sent += len(r.sealed)
	maps.DeleteFunc(c.records, func(x record, _ bool) bool { return x.device == r.device && x.seq <= r.base })
	return another
}

// merge has two clouds have what either has.
func (c *cloud) merge(other *cloud) {
	for _, pair := range [][2]*cloud{{c, other}, {other, c}} {
		for r := range maps.Clone(pair[0].records) {
			pair[1].take(r)
		}
	}
}

func seal(device catalog.DeviceID, seq, base uint64, block *format.LogBlock) ([]byte, error) {
	sealed, err := format.SealBlock(block, catalogKey)
	return append(fmt.Appendf(nil, "%d ", base), sealed...), err
}

// Of what is to be sent one record is said to be the last: that in which all else is
// that was said until then.
func TestLastOfWhatIsToBeSent(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	add := func(n byte, name string) {
		t.Helper()
		if err := c.Add(t.Context(), entry(n, name)); err != nil {
			t.Fatal(err)
		}
	}
	sent := func(out *catalog.Outgoing) {
		t.Helper()
		device, err := c.Device(t.Context())
		if err == nil {
			err = c.Sent(t.Context(), device, out.Seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	next := func(last bool) *catalog.Outgoing {
		t.Helper()
		out, err := c.Unsent(t.Context(), seal)
		if err != nil || out == nil || out.Last != last {
			t.Fatalf("got %+v, %v, want one that is the last: %t", out, err, last)
		}
		return out
	}
	add(1, "one")
	next(true)          // is not sent
	add(2, "two")       // is not in it
	sent(next(false))   // the same again
	sent(next(true))    // with two
	for n := range 40 { // more than one record has
		add(byte(3+n), strings.Repeat("n", 1000)+fmt.Sprint(n))
	}
	sent(next(false))
	sent(next(true))
	if out, err := c.Unsent(t.Context(), seal); out != nil || err != nil {
		t.Errorf("got %+v, %v, want nothing", out, err)
	}
}

// send sends what a device has said to the mesh, and makes runs of it.
func (c *cloud) send(d *catalog.Catalog) {
	c.t.Helper()
	ctx := c.t.Context()
	for {
		out, err := d.Unsent(ctx, seal)
		if err != nil {
			c.t.Fatal(err)
		}
		if out == nil {
			merge, err := d.Due(ctx, false)
			if err != nil {
				c.t.Fatal(err)
			}
			if merge == nil {
				return
			}
			c.run(d, merge)
			continue
		}
		device, err := d.Device(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		r := record{device: device, seq: out.Seq}
		rest := bytes.SplitN(out.Bytes, []byte(" "), 2)
		fmt.Sscan(string(rest[0]), &r.base)
		r.sealed = string(rest[1])
		if c.take(r) {
			_, err = d.Refused(ctx, device, out.Seq)
		} else {
			err = d.Sent(ctx, device, out.Seq)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cloud) run(d *catalog.Catalog, merge *catalog.Merge) {
	c.t.Helper()
	var b bytes.Buffer
	if err := d.WriteRun(c.t.Context(), merge, &b); err != nil {
		c.t.Fatal(err)
	}
	id := datamesh.ObjectID(hash.Derive("test", b.Bytes()))
	c.runs[id] = b.Bytes()
	c.sent += b.Len()
	if made, err := d.Made(c.t.Context(), merge, id, seal); err != nil || !made {
		c.t.Fatalf("made %t, %v", made, err)
	}
}

// clean has a device remove the runs that are of no use.
func (c *cloud) clean(d *catalog.Catalog) {
	c.t.Helper()
	old, err := d.Old(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, id := range old {
		delete(c.runs, id)
		if err := d.Gone(c.t.Context(), id); err != nil {
			c.t.Fatal(err)
		}
	}
}

// learn has a device learn what the mesh has of others.
func (c *cloud) learn(d *catalog.Catalog) {
	c.t.Helper()
	ctx := c.t.Context()
	self, err := d.Device(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	c.reads++
	heads := map[catalog.DeviceID]record{}
	runs := map[catalog.DeviceID][]format.Run{}
	for r := range c.records {
		if r.device == self {
			continue
		}
		block, err := format.OpenBlock([]byte(r.sealed), catalogKey)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(block.Runs) > 0 && r.seq > heads[r.device].seq {
			heads[r.device], runs[r.device] = r, block.Runs
		}
		c.from(d, catalog.Source{Device: r.device, What: hash.Derive("test", []byte(r.sealed))}, block)
	}
	for device, list := range runs {
		for _, run := range list {
			source := catalog.Source{Device: device, What: run.Object}
			if known, err := d.Knows(ctx, source); err != nil || known {
				continue
			}
			c.reads += 2 // its manifest, and its content
			n := 0
			err := catalog.ReadRun(bytes.NewReader(c.runs[run.Object]), func(block *format.LogBlock) error {
				n += len(block.Changes)
				c.from(d, source, block)
				return nil
			})
			if err == nil {
				err = d.Met(ctx, source)
			}
			if err != nil || n != run.Changes {
				c.t.Fatalf("a run of %d changes has %d: %v", run.Changes, n, err)
			}
		}
	}
}

func (c *cloud) from(d *catalog.Catalog, source catalog.Source, block *format.LogBlock) {
	c.t.Helper()
	if _, err := d.Learn(c.t.Context(), source.Device, block.Changes); err != nil {
		c.t.Fatal(err)
	}
}

// all returns all that a catalog has.
func all(t *testing.T, c *catalog.Catalog) (all []catalog.DeletedEntry) {
	t.Helper()
	for _, e := range list(t, c) {
		all = append(all, catalog.DeletedEntry{Entry: e})
	}
	for e, err := range c.Deleted(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b catalog.DeletedEntry) int { return cmp.Or(bytes.Compare(a.ID[:], b.ID[:])) })
	return all
}

func wantSame(t *testing.T, what string, want, got *catalog.Catalog) {
	t.Helper()
	if diff := gocmp.Diff(all(t, want), all(t, got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Whatever devices put, delete, bring back and forget, in whatever parts of the
// mesh and in whatever order they hear of each other: in the end all have the
// same, and so has one that comes anew.
func TestDevicesConverge(t *testing.T) {
	catalog.SetLimits(t, 4, 3)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			clouds := []*cloud{newCloud(t), newCloud(t)}
			var devices []*catalog.Catalog
			for range 3 {
				devices = append(devices, open(t, filepath.Join(t.TempDir(), "user.db")))
			}
			var ids []datamesh.ObjectID
			for step := range 300 {
				d, mesh := devices[random.IntN(len(devices))], clouds[random.IntN(2)]
				ctx := t.Context()
				if len(ids) == 0 || random.IntN(3) == 0 {
					e := entry(byte(1+step%27), fmt.Sprint("name ", random.IntN(20)), "tag")
					e.ID = datamesh.ObjectID{byte(step >> 8), byte(step), byte(seed)}
					ids = append(ids, e.ID)
					if err := d.Add(ctx, e); err != nil {
						t.Fatal(err)
					}
				}
				id := ids[random.IntN(len(ids))]
				name := func() string { return fmt.Sprint("name ", random.IntN(20)) }
				var err error
				switch random.IntN(22) {
				case 12:
					_, err = d.Rename(ctx, name(), name(), random.IntN(2) == 0)
				case 13:
					_, err = d.Rename(ctx, []string{"", "dir/", "other/"}[random.IntN(3)], []string{"dir/", "other/"}[random.IntN(2)], true)
				case 14:
					_, err = d.Rename(ctx, name(), "dir/", true)
				case 15, 16:
					_, _, err = d.Copy(ctx, id, "", fmt.Sprint([]string{"copy ", "dir/copy "}[random.IntN(2)], random.IntN(20)))
				case 17:
					if e, found := d.ByID(ctx, id); found == nil && len(e.Names()) > 0 {
						_, err = d.Unname(ctx, id, e.Names()[random.IntN(len(e.Names()))])
					}
				case 18, 19:
					_, _, err = d.EditObject(ctx, id, func(e *catalog.Entry) {
						e.Pinned = !e.Pinned
						e.Tags = []string{fmt.Sprint("tag ", random.IntN(5))}
					})
				case 0, 1:
					err = d.Delete(ctx, id, time.Unix(int64(step), 0), uint64(step)|1, step%5 == 0)
				case 2:
					err = d.Done(ctx, id)
				case 3:
					err = d.Undelete(ctx, id)
				case 4:
					err = d.Forget(ctx, id)
				case 5, 6, 7:
					mesh.send(d)
				case 8, 9:
					mesh.learn(d)
				case 10:
					mesh.clean(d)
				case 20, 21:
					now := datamesh.ObjectID{byte(step >> 8), byte(step), byte(seed), 1}
					ids = append(ids, now)
					err = d.Replace(ctx, id, now, 1+step/100)
				case 11:
					clouds[0].merge(clouds[1])
					maps.Copy(clouds[0].runs, clouds[1].runs)
					maps.Copy(clouds[1].runs, clouds[0].runs)
				}
				if kind := errs.KindOf(err); err != nil && kind != errs.FileNotFound && kind != errs.Exists && kind != errs.Invalid {
					t.Fatal(err)
				}
			}
			mesh := clouds[0]
			for range 2 {
				mesh.merge(clouds[1])
				maps.Copy(mesh.runs, clouds[1].runs)
				for _, d := range devices {
					mesh.send(d)
					mesh.learn(d)
				}
			}
			for _, d := range devices {
				mesh.learn(d)
				wantSame(t, "a device", devices[0], d)
				wantSameHistory(t, "a device", ids, devices[0], d)
			}
			anew := open(t, filepath.Join(t.TempDir(), "user.db"))
			mesh.learn(anew)
			wantSame(t, "one that comes anew", devices[0], anew)
			several, pinned := 0, 0
			for _, e := range list(t, anew) {
				several += min(len(e.Further), 1)
				if e.Pinned {
					pinned++
				}
			}
			if several == 0 || pinned == 0 {
				t.Errorf("%d objects have several names, %d are pinned", several, pinned)
			}
			for _, d := range append(devices, anew) {
				wantFound(t, d)
			}
			wantSameHistory(t, "one that comes anew", ids, devices[0], anew)
			if len(list(t, anew)) == 0 || len(mesh.runs) < 2 {
				t.Errorf("%d objects are left, and %d runs", len(list(t, anew)), len(mesh.runs))
			}
		})
	}
}

// wantFound compares what a search finds with what there is.
func wantFound(t *testing.T, c *catalog.Catalog) {
	t.Helper()
	for _, words := range [][]string{{"name 1"}, {"COPY"}, {"dir/", "Tag 3"}, {"e"}, {"tag 4", "1"}, {"no such"}} {
		var want, got []string
		for e, err := range c.Select(t.Context(), catalog.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			has := func(word string) bool {
				word = strings.ToLower(word)
				return strings.Contains(strings.ToLower(e.Name), word) || strings.Contains(strings.ToLower(strings.Join(e.Tags, "\n")), word)
			}
			if !slices.ContainsFunc(words, func(w string) bool { return !has(w) }) {
				want = append(want, e.ID.String()+e.Name)
			}
		}
		for e, err := range c.Search(t.Context(), words) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.ID.String()+e.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("search %q (-want +got):\n%s", words, diff)
		}
	}
}

// A history is what a catalog knows of the ids that objects had.
type history struct {
	Epoch  int
	Behind []datamesh.ObjectID // as a set
	Now    map[datamesh.ObjectID]datamesh.ObjectID
	Twins  []catalog.Twin
	Doomed []catalog.Doom
}

func historyOf(t *testing.T, ids []datamesh.ObjectID, c *catalog.Catalog) (h history) {
	t.Helper()
	ctx := t.Context()
	var errors [5]error
	h.Epoch, _, errors[0] = c.Epoch(ctx)
	h.Behind, errors[1] = c.Behind(ctx, h.Epoch)
	h.Twins, errors[2] = c.Twins(ctx)
	h.Doomed, errors[3] = c.Doomed(ctx)
	h.Now = map[datamesh.ObjectID]datamesh.ObjectID{}
	for _, id := range ids {
		if h.Now[id], errors[4] = c.Current(ctx, id); errors[4] != nil {
			break
		}
	}
	for _, err := range errors {
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(h.Behind, func(a, b datamesh.ObjectID) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(h.Doomed, func(a, b catalog.Doom) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return h
}

func wantSameHistory(t *testing.T, what string, ids []datamesh.ObjectID, want, got *catalog.Catalog) {
	t.Helper()
	if diff := gocmp.Diff(historyOf(t, ids, want), historyOf(t, ids, got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// What a device does because of an old deletion, without knowing that another has
// brought the object back since, does not take it away again.
func TestUndeleteHoldsAgainstWhatRestsOnTheDeletion(t *testing.T) {
	for what, do := range map[string]func(*catalog.Catalog, datamesh.ObjectID) error{
		"expiry": func(c *catalog.Catalog, _ datamesh.ObjectID) error { return c.ForgetDeleted(t.Context(), time.Now()) },
		"done":   func(c *catalog.Catalog, id datamesh.ObjectID) error { return c.Done(t.Context(), id) },
		"undone": func(c *catalog.Catalog, id datamesh.ObjectID) error { return c.Undone(t.Context(), id) },
	} {
		mesh := newCloud(t)
		a, b := open(t, filepath.Join(t.TempDir(), "user.db")), open(t, filepath.Join(t.TempDir(), "user.db"))
		id := entry(1, "").ID
		for _, err := range []error{
			a.Add(t.Context(), entry(1, "name")),
			a.Delete(t.Context(), id, time.Unix(1, 0), 1, false),
			a.Done(t.Context(), id),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		mesh.send(a)
		mesh.learn(b)
		if err := b.Undelete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := do(a, id); err != nil {
			t.Fatal(err)
		}
		mesh.send(a)
		mesh.send(b)
		mesh.learn(a)
		mesh.learn(b)
		for name, c := range map[string]*catalog.Catalog{"who deleted": a, "who brought back": b} {
			if _, err := c.ByID(t.Context(), id); err != nil {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
}

// What one device has said of an object after another had deleted it, without
// knowing, holds; both know that the mesh may have it deleted.
func TestWhatIsListedAgainstADeletionIsDisputed(t *testing.T) {
	mesh := newCloud(t)
	a, b := open(t, filepath.Join(t.TempDir(), "user.db")), open(t, filepath.Join(t.TempDir(), "user.db"))
	id, other := entry(1, "").ID, entry(2, "").ID
	for _, err := range []error{a.Add(t.Context(), entry(1, "name")), a.Add(t.Context(), entry(2, "other"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mesh.send(a)
	mesh.learn(b)
	for _, err := range []error{
		a.Delete(t.Context(), id, time.Unix(1, 0), 1, false), a.Done(t.Context(), id),
		a.Delete(t.Context(), other, time.Unix(1, 0), 1, false),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Rename(t.Context(), "name", "renamed", false); err != nil {
		t.Fatal(err)
	}
	mesh.send(a)
	mesh.send(b)
	mesh.learn(a)
	mesh.learn(b)
	wantSame(t, "both", a, b)
	for what, c := range map[string]*catalog.Catalog{"who deleted": a, "who renamed": b} {
		if ids, err := c.Disputed(t.Context()); err != nil || !slices.Equal(ids, []datamesh.ObjectID{id}) {
			t.Errorf("%s: %v are disputed, %v", what, ids, err)
		}
		if err := c.Settled(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if ids, err := c.Disputed(t.Context()); err != nil || len(ids) > 0 {
			t.Errorf("%s: %v are disputed still, %v", what, ids, err)
		}
	}
}

// A home that is an old copy of another takes another id when the mesh has what
// it never said, and nothing that either has said is lost.
func TestOldCopyOfAHomeTakesAnotherID(t *testing.T) {
	dir, mesh := t.TempDir(), newCloud(t)
	add := func(c *catalog.Catalog, n byte) {
		t.Helper()
		if err := c.Add(t.Context(), entry(n, fmt.Sprint("name ", n))); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "user.db")
	first, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	add(first, 1)
	mesh.send(first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(copied, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	first, other := open(t, path), open(t, copied)
	add(first, 2)
	mesh.send(first)
	add(other, 3)
	mesh.send(other)
	mesh.learn(other)
	mesh.learn(first)
	was, err := first.Device(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if is, err := other.Device(t.Context()); err != nil || is == was {
		t.Errorf("both have the id %x: %v", is, err)
	}
	if n := len(list(t, other)); n != 3 {
		t.Errorf("the copy has %d objects, want 3", n)
	}
	wantSame(t, "the copy", first, other)
}

// What is stored one by one comes back with few reads, and the log is not
// written much more often than it has to be.
func TestManyChangesAreReadFast(t *testing.T) {
	catalog.SetLimits(t, 16, 4)
	mesh, d := newCloud(t), open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.fill(d, 1000)
	anew := open(t, filepath.Join(t.TempDir(), "user.db"))
	mesh.learn(anew)
	wantSame(t, "one that comes anew", d, anew)
	const levels = 4 // of 16, 64 and 256 changes, and the records
	if most := 1 + 2*levels*4; mesh.reads > most {
		t.Errorf("%d reads, want at most %d", mesh.reads, most)
	}
	if len(mesh.records) > 2*16 || len(mesh.runs) > levels*4 {
		t.Errorf("the mesh has %d records and %d runs", len(mesh.records), len(mesh.runs))
	}
}

// fill has a device add n objects one by one, and returns how many bytes there
// are to say of them.
func (c *cloud) fill(d *catalog.Catalog, n int) (once int) {
	c.t.Helper()
	for i := range n {
		e := entry(1, fmt.Sprint("a directory/a file of number ", i))
		e.ID = datamesh.ObjectID(hash.Derive("test", fmt.Append(nil, i)))
		if err := d.Add(c.t.Context(), e); err != nil {
			c.t.Fatal(err)
		}
		c.send(d)
		c.clean(d)
		once += len(format.Marshal(format.Change{Object: e.ID, Clock: 1 << 40, Name: e.Name, Size: e.Size, Created: e.Created.UnixNano(), Stored: e.StoredBytes}))
	}
	return once
}

// BenchmarkLog adds objects one by one, and reads the log then: ns/op is what the
// catalog takes for each, reads are those of the mesh, and sent is how often what
// there is to say was sent, with all that is around it. For the figures of
// docs/performance.md: -bench Log -benchtime 100000x.
func BenchmarkLog(b *testing.B) {
	mesh, d := newCloud(b), open(b, filepath.Join(b.TempDir(), "user.db"))
	once := mesh.fill(d, b.N)
	b.StopTimer()
	anew := open(b, filepath.Join(b.TempDir(), "user.db"))
	mesh.learn(anew)
	stats, err := anew.Stats(b.Context())
	if err != nil || stats.Objects != int64(b.N) {
		b.Fatalf("%d of %d objects come back: %v", stats.Objects, b.N, err)
	}
	b.ReportMetric(float64(mesh.reads), "reads")
	b.ReportMetric(float64(mesh.sent)/float64(once), "sent")
}
