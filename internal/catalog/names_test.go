package catalog_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// named makes a catalog with an object of each name, the later the newer.
func named(t testing.TB, names ...string) *catalog.Catalog {
	t.Helper()
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	for i, name := range names {
		if err := c.Add(t.Context(), entry(byte(i+1), name)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// selected returns what a query selects, as "name id", the first byte of which
// tells objects apart.
func selected(t testing.TB, c *catalog.Catalog, q catalog.Query) (all []string) {
	t.Helper()
	for e, err := range c.Select(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %d", e.Name, e.ID[0]))
	}
	return all
}

func wantNames(t testing.TB, c *catalog.Catalog, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, selected(t, c, catalog.Query{Sort: "name"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRename(t *testing.T) {
	for _, tt := range []struct {
		name     string
		have     []string
		from, to string
		force    bool
		changed  int
		kind     errs.Kind
		want     []string
	}{
		{"all versions", []string{"a", "b", "a"}, "a", "c", false, 2, 0, []string{"b 2", "c 3", "c 1"}},
		{"taken", []string{"a", "b"}, "a", "b", false, 0, errs.Exists, []string{"a 1", "b 2"}},
		{"taken, by force: what is renamed comes first", []string{"a", "a", "b"}, "a", "b", true, 2, 0, []string{"b 2", "b 1", "b 3"}},
		{"none", []string{"a"}, "b", "c", false, 0, errs.FileNotFound, []string{"a 1"}},
		{"itself", []string{"a"}, "a", "a", false, 0, errs.Invalid, []string{"a 1"}},
		{"into a directory", []string{"x/a", "b"}, "x/a", "d/", false, 1, 0, []string{"b 2", "d/a 1"}},
		{"a directory", []string{"d/a", "d/b/c", "da", "d0", "d/ÿ"}, "d/", "e/f/", false, 3, 0, []string{"d0 4", "da 3", "e/f/a 1", "e/f/b/c 2", "e/f/ÿ 5"}},
		{"a directory, taken", []string{"d/a", "e/a"}, "d/", "e/", false, 0, errs.Exists, []string{"d/a 1", "e/a 2"}},
		{"a directory into itself", []string{"d/a", "d/d/a"}, "d/", "d/d/", false, 2, 0, []string{"d/d/a 1", "d/d/d/a 2"}},
		{"a directory out of itself", []string{"d/a", "d/d/a"}, "d/d/", "d/", true, 1, 0, []string{"d/a 2", "d/a 1"}},
		{"a directory to a name", []string{"d/a"}, "d/", "e", false, 0, errs.Invalid, []string{"d/a 1"}},
		{"to nothing", []string{"a"}, "a", "", false, 0, errs.Invalid, []string{"a 1"}},
		{"too long", []string{"d/a"}, "d/", strings.Repeat("n", catalog.MaxName-1) + "/", false, 0, errs.Invalid, []string{"d/a 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := named(t, tt.have...)
			changed, err := c.Rename(t.Context(), tt.from, tt.to, tt.force)
			if errs.KindOf(err) != tt.kind || changed != tt.changed {
				t.Errorf("got %d, %v, want %d, %v", changed, err, tt.changed, tt.kind)
			}
			wantNames(t, c, tt.want...)
		})
	}
}

// An object of several names is found by each of them, and goes with the last.
func TestObjectsHaveSeveralNames(t *testing.T) {
	c, ctx := named(t, "b", "x"), t.Context()
	id := entry(1, "").ID
	for _, to := range []string{"a", "dir/", "x2"} {
		if _, _, err := c.Copy(ctx, id, "b", to); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []string{"x", "a", "b"} {
		if _, _, err := c.Copy(ctx, id, "", to); !errors.Is(err, errs.Exists) {
			t.Errorf("copy to %s: got %v, want Exists", to, err)
		}
	}
	wantNames(t, c, "a 1", "b 1", "dir/b 1", "x 2", "x2 1")
	if e, err := c.ByName(ctx, "dir/b"); err != nil || e.ID != id || e.Name != "b" || !slices.Equal(e.Further, []string{"a", "dir/b", "x2"}) {
		t.Errorf("got %+v, %v", e, err)
	}
	if n, err := c.Named(ctx, "x2"); n != 1 || err != nil {
		t.Errorf("%d have a further name: %v", n, err)
	}
	if n := len(list(t, c)); n != 2 {
		t.Errorf("%d objects, want 2", n)
	}
	if _, err := c.Rename(ctx, "dir/", "other/", false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Rename(ctx, "a", "b", false); err != nil { // it has both
		t.Error(err)
	}
	if _, err := c.Unname(ctx, id, "b"); err != nil {
		t.Fatal(err)
	}
	wantNames(t, c, "other/b 1", "x 2", "x2 1")
	if _, err := c.RenameObject(ctx, id, "z", false); !errors.Is(err, errs.Invalid) {
		t.Errorf("rename by the id, of two names: got %v, want Invalid", err)
	}
	if err := c.Delete(ctx, id, time.Now(), 1, false); err != nil {
		t.Fatal(err)
	}
	wantNames(t, c, "x 2")
	if e, err := c.DeletedByName(ctx, "x2"); err != nil || e.ID != id {
		t.Errorf("got %v, %v", e, err)
	}
	if err := c.Undelete(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unname(ctx, id, "x2"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unname(ctx, id, "other/b"); !errors.Is(err, errs.Invalid) {
		t.Errorf("without its last name: got %v, want Invalid", err)
	}
	if was, err := c.RenameObject(ctx, id, "z", false); err != nil || was != "other/b" {
		t.Errorf("got %s, %v", was, err)
	}
	if err := c.Forget(ctx, id); err != nil {
		t.Fatal(err)
	}
	wantNames(t, c, "x 2")
	many := 0
	for ; ; many++ {
		if _, _, err := c.Copy(ctx, entry(2, "").ID, "", fmt.Sprint("name ", many)); err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("got %v, want Invalid", err)
			}
			break
		}
	}
	if many != format.MaxNames {
		t.Errorf("%d further names, want %d", many, format.MaxNames)
	}
}

func TestEditsTheNewestOfEachName(t *testing.T) {
	c, ctx := named(t, "p/a", "p/a", "p/b", "q", "p/d/e"), t.Context()
	_, matched, changed, err := c.Edit(ctx, "p/*", func(e *catalog.Entry) { e.Tags = []string{"t"} })
	if matched != 2 || changed != 2 || err != nil {
		t.Errorf("%d matched, %d changed, %v", matched, changed, err)
	}
	if diff := cmp.Diff([]string{"p/a 2", "p/b 3"}, selected(t, c, catalog.Query{Tag: "t", Sort: "name"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, matched, changed, err = c.Edit(ctx, "p/**", func(e *catalog.Entry) { e.Tags = []string{"t"} }); matched != 3 || changed != 1 || err != nil {
		t.Errorf("%d matched, %d changed, %v", matched, changed, err)
	}
	if _, _, _, err = c.Edit(ctx, "none*", func(*catalog.Entry) {}); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("got %v, want FileNotFound", err)
	}
	many := make([]string, format.MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for what, tags := range map[string][]string{"too many": many, "too long": {strings.Repeat("t", format.MaxTag+1)}, "empty": {""}} {
		if _, _, _, err = c.Edit(ctx, "**", func(e *catalog.Entry) { e.Tags = tags }); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: got %v, want Invalid", what, err)
		}
	}
	if got := selected(t, c, catalog.Query{Tag: "0"}); len(got) > 0 {
		t.Errorf("some were changed: %v", got)
	}
}

func TestSelect(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	for i, x := range []struct{ name, mediaType, tag string }{
		{"photos/a.jpg", "image/jpeg", "x"}, {"photos/2020/b.jpg", "image/jpeg", "y"}, {"notes", "text/plain; charset=utf-8", "x"},
		{"f[1]", "", ""}, {"pack", "application/vnd.datamesh.pack", ""}, {"", "", "x"},
	} {
		e := entry(byte(i+1), x.name)
		e.Type = x.mediaType
		if x.tag != "" {
			e.Tags = []string{"z", x.tag}
		}
		if err := c.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Copy(t.Context(), entry(3, "").ID, "", "photos/notes"); err != nil {
		t.Fatal(err)
	}
	day := func(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 123456789, time.UTC) }
	for _, tt := range []struct {
		q    catalog.Query
		want []string
	}{
		{catalog.Query{}, []string{" 6", "f[1] 4", "notes 3", "photos/notes 3", "photos/2020/b.jpg 2", "photos/a.jpg 1"}},
		{catalog.Query{Sort: "name"}, []string{" 6", "f[1] 4", "notes 3", "photos/2020/b.jpg 2", "photos/a.jpg 1", "photos/notes 3"}},
		{catalog.Query{Sort: "size", Limit: 2}, []string{" 6", "f[1] 4"}},
		{catalog.Query{Pattern: "notes"}, []string{"notes 3"}},
		{catalog.Query{Pattern: "photos"}, nil},
		{catalog.Query{Pattern: "photos/"}, []string{"photos/notes 3", "photos/2020/b.jpg 2", "photos/a.jpg 1"}},
		{catalog.Query{Pattern: "photos/*"}, []string{"photos/notes 3", "photos/a.jpg 1"}},
		{catalog.Query{Pattern: "photos/**"}, []string{"photos/notes 3", "photos/2020/b.jpg 2", "photos/a.jpg 1"}},
		{catalog.Query{Pattern: "**/*.jpg", Limit: 1}, []string{"photos/2020/b.jpg 2"}},
		{catalog.Query{Pattern: "{notes,f*}"}, []string{"f[1] 4", "notes 3"}},
		{catalog.Query{Pattern: "f[1]"}, []string{"f[1] 4"}},
		{catalog.Query{Pattern: `f\[1\]`}, []string{"f[1] 4"}},
		{catalog.Query{Tag: "x"}, []string{" 6", "notes 3", "photos/notes 3", "photos/a.jpg 1"}},
		{catalog.Query{Type: "image/*"}, []string{"photos/2020/b.jpg 2", "photos/a.jpg 1"}},
		{catalog.Query{Type: "text/plain"}, []string{"notes 3", "photos/notes 3"}},
		{catalog.Query{Larger: 200, Smaller: 400}, []string{"notes 3", "photos/notes 3"}},
		{catalog.Query{After: day(2), Before: day(3)}, []string{"photos/2020/b.jpg 2"}},
	} {
		if diff := cmp.Diff(tt.want, selected(t, c, tt.q)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.q, diff)
		}
	}
	for _, q := range []catalog.Query{{Pattern: "[a"}, {Sort: "colour"}} {
		for _, err := range c.Select(t.Context(), q) {
			if !errors.Is(err, errs.Invalid) {
				t.Errorf("%+v: got %v, want Invalid", q, err)
			}
		}
	}
	stats, err := c.Stats(t.Context())
	if stats.Objects != 5 || stats.Internal != 1 || err != nil {
		t.Errorf("got %+v, %v", stats, err)
	}
	for e := range c.Search(t.Context(), []string{"pack"}) {
		t.Errorf("found %s", e.Name)
	}
	if n := len(list(t, c)); n != 6 {
		t.Errorf("%d objects in all, want 6: whoever looks after them needs all", n)
	}
}

// What is internal to the format is not listed, and nothing else.
func TestListLeavesOutWhatIsInternal(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	var want []string
	for i, mediaType := range []string{"", "application/vnd.datamesh.pack", "application/vnd.datamesh.x+pack", "application/vnd.datamesh.backup",
		"application/vnd.datamesh.backpack", "application/vnd.other.pack", "Application/vnd.datamesh.pack"} {
		e := entry(byte(i+1), "name")
		e.Type = mediaType
		if err := c.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if !format.Internal(mediaType) {
			want = append(want, fmt.Sprint("name ", i+1))
		}
	}
	slices.Reverse(want)
	if diff := cmp.Diff(want, selected(t, c, catalog.Query{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A catalog of before there were several names is read as it is, and gets them,
// and the words of what it has, when it is opened for more.
func TestEarlierCatalogGetsNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	before := entry(1, "before", "Tagged")
	if err := errors.Join(c.Add(t.Context(), before), c.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(undoNames); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := catalog.OpenToRead(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]catalog.Entry{before}, list(t, r)); diff != "" {
		t.Errorf("to read (-want +got):\n%s", diff)
	}
	if got := selected(t, r, catalog.Query{Pattern: "bef*"}); len(got) != 1 {
		t.Errorf("to read: got %v", got)
	}
	if e, err := r.ByName(t.Context(), "before"); err != nil || e.ID != before.ID {
		t.Errorf("to read: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, path)
	for e, err := range c.Search(t.Context(), []string{"BEF", "tag"}) {
		if err != nil || e.ID != before.ID {
			t.Errorf("got %v, %v", e, err)
		}
		if _, _, err := c.Copy(t.Context(), e.ID, "", "after"); err != nil {
			t.Error(err)
		}
		break
	}
	wantNames(t, c, "after 1", "before 1")
}

// BenchmarkSearch looks for words in a million names, and tells the median and
// the greatest of the times that the first hundred of what is found take. More than
// half of what is asked for is rare or missing.
// For the figures of docs/performance.md: -bench Search -benchtime 1x.
func BenchmarkSearch(b *testing.B) {
	c := open(b, filepath.Join(b.TempDir(), "user.db"))
	words := fillWords(b, c, 1_000_000)
	b.ResetTimer()
	var took []time.Duration
	for range b.N {
		for _, query := range words {
			began := time.Now()
			n := 0
			for _, err := range c.Search(b.Context(), query) {
				if err != nil {
					b.Fatal(err)
				}
				if n++; n == 100 {
					break
				}
			}
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "median-ms")
	b.ReportMetric(ms(took[len(took)*95/100]), "p95-ms")
	b.ReportMetric(ms(took[len(took)-1]), "most-ms")
}

// fillWords has a catalog learn n names of photos, documents and sources, and
// returns what to search for.
func fillWords(b *testing.B, c *catalog.Catalog, n int) (queries [][]string) {
	b.Helper()
	dict := dictionary(20_000)
	word := func(i, salt int) string { // a few words are in many names, most in few
		x := uint32(i*2654435761 + salt*40503)
		x ^= x >> 15
		x *= 2246822519
		x ^= x >> 13
		f := float64(x) / (1 << 32)
		return dict[int(f*f*f*float64(len(dict)-1))]
	}
	device := catalog.DeviceID{1}
	began := time.Now()
	for i := 0; i < n; {
		var changes []format.Change
		for range 200 {
			ch := format.Change{Object: datamesh.ObjectID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Clock: uint64(i + 1), Size: int64(i), Created: int64(i) * 1e9, Stored: 1}
			switch i % 3 {
			case 0:
				ch.Name, ch.Type = fmt.Sprintf("photos/%d/%02d/IMG_%d_%06d.jpg", 2000+i%26, 1+i%12, 20000000+i%260000, i), "image/jpeg"
			case 1:
				ch.Name, ch.Tags = fmt.Sprintf("documents/%s/%s %s.pdf", word(i, 1), word(i, 2), word(i, 3)), []string{word(i, 4)}
			default:
				ch.Name = fmt.Sprintf("src/%s/%s_%s.go", word(i, 5), word(i, 6), word(i, 7))
			}
			changes = append(changes, ch)
			i++
		}
		if _, err := c.Learn(b.Context(), device, changes); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("to learn %d names took %v for each", n, time.Since(began)/time.Duration(n))
	for i := range 20 {
		queries = append(queries,
			[]string{dict[i]}, []string{dict[i*7], dict[i*11]}, // common, alone and together
			[]string{dict[len(dict)-1-i]}, []string{fmt.Sprintf("_%06d", i*33333/3*3)}, // rare
			[]string{dict[i] + "x" + dict[i+1]}, []string{dict[i][:3] + dict[i+50][:3] + dict[i+90][:3]}, // missing, mostly
			[]string{[]string{"photos", "jpg", "documents", "src/", "IMG_200"}[i%5]}, []string{"photos", dict[i*900]})
	}
	return queries
}

// dictionary makes up words that share syllables, as those of a language do.
func dictionary(n int) (dict []string) {
	syllables := strings.Fields("ba be bi bo da de di do fa fe ga go ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe pi po ra re ri ro sa se si so ta te ti to va ve vi vo ter pro con ning ing er")
	x := uint64(1)
	next := func(n int) int {
		x = x*6364136223846793005 + 1442695040888963407
		return int(x>>33) % n
	}
	for range n {
		var w strings.Builder
		for range 2 + next(3) {
			w.WriteString(syllables[next(len(syllables))])
		}
		dict = append(dict, w.String())
	}
	return dict
}

// A directory that was put has its own permissions and time, and goes along with
// what is below it; a file of that name does not.
func TestADirectoryIsRenamedWithWhatIsBelow(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "user.db"))
	dir, file, other := entry(1, "dir"), entry(2, "dir/file"), entry(3, "dir")
	dir.Type = "inode/directory"
	for _, e := range []catalog.Entry{dir, file, other} {
		if err := c.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Rename(t.Context(), "dir/", "new/", false); n != 2 || err != nil {
		t.Errorf("%d are renamed, %v", n, err)
	}
	for id, want := range map[datamesh.ObjectID]string{dir.ID: "new", file.ID: "new/file", other.ID: "dir"} {
		if e, err := c.ByID(t.Context(), id); e.Name != want || err != nil {
			t.Errorf("got %q, %v, want %q", e.Name, err, want)
		}
	}
}

// What another process of the home has pinned, or given a further name, since it
// was looked at is not deleted. What it has taken away or tagged does not matter.
func TestDeleteAsHeedsWhatWasSaidMeanwhile(t *testing.T) {
	pin := func(e *catalog.Entry) { e.Pinned = true }
	tag := func(e *catalog.Entry) { e.Tags = []string{"tag"} }
	for what, tt := range map[string]struct {
		say  func(c *catalog.Catalog, id datamesh.ObjectID) error
		want errs.Kind
	}{
		"nothing": {func(*catalog.Catalog, datamesh.ObjectID) error { return nil }, 0},
		"a tag": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			_, _, err := c.EditObject(t.Context(), id, tag)
			return err
		}, 0},
		"a pin": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			_, _, err := c.EditObject(t.Context(), id, pin)
			return err
		}, errs.Refused},
		"a name": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			_, _, err := c.Copy(t.Context(), id, "a", "b")
			return err
		}, errs.Refused},
		"a deletion": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			return c.Delete(t.Context(), id, time.Unix(1, 0), 1, false)
		}, 0},
		"that it is not to be deleted": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			_, _, err := c.EditObject(t.Context(), id, pin)
			return errors.Join(c.Delete(t.Context(), id, time.Unix(1, 0), 1, false), c.Undelete(t.Context(), id), err)
		}, errs.Refused},
		"that it is forgotten": {func(c *catalog.Catalog, id datamesh.ObjectID) error {
			return c.Forget(t.Context(), id)
		}, errs.FileNotFound},
	} {
		path := filepath.Join(t.TempDir(), "user.db")
		c, other := open(t, path), open(t, path)
		seen := entry(1, "a")
		if err := c.Add(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		if err := tt.say(other, seen.ID); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		err := c.DeleteAs(t.Context(), seen, time.Unix(2, 0), 1, false)
		if tt.want == 0 && err != nil || tt.want != 0 && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
		if _, err := c.ByID(t.Context(), seen.ID); (err == nil) != (tt.want == errs.Refused) {
			t.Errorf("%s: it is listed: %v", what, err)
		}
	}
}
