package backup

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A Restored is what came of a restore.
type Restored struct {
	ID    datamesh.ObjectID `json:"id"`
	Name  string            `json:"name"`
	Files int64             `json:"files"` // that are whole
	Dirs  int64             `json:"dirs"`
	Links int64             `json:"links"`
	Bytes int64             `json:"bytes"` // of the files
	Same  int64             `json:"same"`  // files and links of these that were there already
	Out   string            `json:"out,omitempty"`

	Failed   int             `json:"failed"`   // files, directories and links that are not as they were
	Failures []Failure       `json:"failures"` // the first 1000 of them
	Bad      []node.BadShard `json:"bad"`      // that were rebuilt, or that a check has found damaged; the first 1000

	Checked *Checked `json:"checked,omitempty"` // if nothing is written
}

// Checked is what reading every shard that a snapshot needs has come to.
type Checked struct {
	Objects int       `json:"objects"` // the snapshot, and the packs that it needs
	Shards  int       `json:"shards"`  // that there should be of all
	Unsound []Unsound `json:"unsound"` // objects that have not all their shards whole
}

// An Unsound object can be read, and has not all its shards whole.
type Unsound struct {
	ID      datamesh.ObjectID `json:"id"`
	Damaged int               `json:"damaged"` // shards
	Missing int               `json:"missing"`
}

// maxBad is how many damaged shards are told at most.
const maxBad = 1000

// Restore writes a snapshot into a directory, or, if w is nil, reads all that it
// needs and writes nothing. It reads each pack once. Files and links that are
// there already, by their size and time, are left as they are. What cannot be restored is
// told in the result, and does not keep the rest from it. It
// closes w. Kinds: as [node.Node.Get], Full.
func (a *Archive) Restore(ctx context.Context, s Snapshot, w *tree.Writer) (restored *Restored, err error) {
	if w == nil {
		return a.restore(ctx, s, nil)
	}
	restored, err = a.restore(ctx, s, w)
	closed := w.Close(func(e tree.Entry, err error) {
		if restored == nil {
			return
		}
		f := Failures{restored.Failed, restored.Failures}
		f.add(e.Path, err)
		restored.Failed, restored.Failures = f.Failed, f.Failures
		if e.Type == tree.Symlink {
			restored.Links--
		} else {
			restored.Dirs--
		}
	})
	if err == nil {
		err = closed
	}
	return restored, err
}

func (a *Archive) restore(ctx context.Context, s Snapshot, w *tree.Writer) (*Restored, error) {
	work, err := a.newScratch()
	if err != nil {
		return nil, err
	}
	defer work.remove()
	d, err := openDatabase(ctx, work.path("restore.db"), "journal_mode(OFF)", "synchronous(OFF)", "cache_size(-8192)")
	if err != nil {
		return nil, err
	}
	defer d.close()
	r := &restore{a: a, w: w, database: d, result: Restored{ID: s.ID, Name: s.Name, Bad: []node.BadShard{}}, open: map[int64]*target{}}
	defer r.abort()
	if err := r.plan(ctx, s.ID); err != nil {
		return nil, err
	}
	var files, bytes int64
	if _, err := r.row(ctx, []any{&files, &bytes}, `SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE kind = ?`, format.TreeFile); err != nil {
		return nil, err
	}
	a.Events.total(files, bytes)
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	for place := range r.packs {
		if err := r.pack(ctx, place); err != nil {
			return nil, err
		}
	}
	if w == nil {
		if err := r.check(ctx); err != nil {
			return nil, err
		}
	}
	r.result.Failed, r.result.Failures = r.failures.Failed, append([]Failure{}, r.failures.Failures...)
	return &r.result, nil
}

// A restore is one on its way.
type restore struct {
	*database // of what is to be written
	a         *Archive
	w         *tree.Writer // nil: nothing is written
	key       [32]byte
	packs     []datamesh.ObjectID
	result    Restored
	failures  Failures
	open      map[int64]*target // files that are begun, by their numbers
	awake     []*target         // those of them that have a descriptor
}

// plan reads the snapshot into tables, from which it is known what each pack is
// needed for.
func (r *restore) plan(ctx context.Context, id datamesh.ObjectID) error {
	if _, err := r.exec(ctx, `
		CREATE TABLE entry (n INTEGER PRIMARY KEY, kind INTEGER, path TEXT, mode INTEGER, modified INTEGER, size INTEGER, target TEXT, pieces INTEGER, same INTEGER);
		CREATE TABLE piece (pack INTEGER, offset INTEGER, length INTEGER, id BLOB, entry INTEGER, at INTEGER, PRIMARY KEY (pack, offset, entry, at)) WITHOUT ROWID`); err != nil {
		return err
	}
	fetched, err := read(ctx, r.a.mesh, id, 0, func(content io.Reader) error {
		return r.write(ctx, func(w *writing) error {
			return r.fill(w, format.NewSnapshotReader(bufio.NewReaderSize(content, 1<<20)))
		})
	})
	r.bad(fetched)
	return err
}

func (r *restore) fill(w *writing, s *format.SnapshotReader) error {
	var n, at, pieces int64
	for {
		b, err := s.Next()
		if err == io.EOF {
			_, err := w.exec(`DELETE FROM piece WHERE entry IN (SELECT n FROM entry WHERE same)`)
			return err
		}
		if err != nil {
			return err
		}
		r.key = s.Head.Key
		r.packs = append(r.packs, b.Packs...)
		for i := range b.Entries {
			e := &b.Entries[i]
			for _, c := range e.Chunks {
				if _, err := w.exec(`INSERT INTO piece (pack, offset, length, id, entry, at) VALUES (?, ?, ?, ?, ?, ?)`, c.Pack, c.Offset, c.Length, c.ID[:], n, at); err != nil {
					return err
				}
				at += int64(c.Length)
				pieces++
			}
			if e.More {
				continue
			}
			t := entryOf(e) // of a directory the time changes with what is written in it
			same := t.Type != tree.Directory && r.w != nil && !r.w.Force && r.w.Same(t)
			if _, err := w.exec(`INSERT INTO entry (n, kind, path, mode, modified, size, target, pieces, same) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				n, e.Kind, e.Path, e.Mode, e.ModTime, e.Size, e.Target, pieces, same); err != nil {
				return err
			}
			if same {
				r.result.Same++
			}
			n, at, pieces = n+1, 0, 0
		}
	}
}

// An item is an entry of the plan.
type item struct {
	n      int64
	entry  tree.Entry
	pieces int
	same   bool // it is there already
}

// entryOf returns an entry as a tree has it.
func entryOf(e *format.TreeEntry) tree.Entry {
	x := tree.Entry{Path: e.Path, Size: e.Size, Mode: e.Mode, ModTime: format.Time(e.ModTime), Target: e.Target}
	switch e.Kind {
	case format.TreeDir:
		x.Type = tree.Directory
	case format.TreeLink:
		x.Type = tree.Symlink
	}
	return x
}

func (r *restore) scan(rows *sql.Rows) (x item, err error) {
	var e format.TreeEntry
	err = rows.Scan(&x.n, &e.Kind, &e.Path, &e.Mode, &e.ModTime, &e.Size, &e.Target, &x.pieces, &x.same)
	x.entry = entryOf(&e)
	return x, err
}

const itemColumns = `SELECT n, kind, path, mode, modified, size, target, pieces, same FROM entry `

// begin writes what needs no pack.
func (r *restore) begin(ctx context.Context) error {
	return r.each(ctx, func(rows *sql.Rows) error {
		x, err := r.scan(rows)
		if err != nil {
			return err
		}
		switch {
		case x.entry.Type == tree.Directory:
			if r.w != nil {
				err = r.w.Dir(x.entry)
			}
			r.count(&r.result.Dirs, x.entry, err)
		case x.entry.Type == tree.Symlink:
			if r.w != nil && !x.same {
				err = r.w.Link(x.entry)
			}
			r.count(&r.result.Links, x.entry, err)
		default:
			if r.w != nil && !x.same {
				var f *tree.File
				if f, err = r.w.File(x.entry); err == nil {
					err = f.Commit()
				}
			}
			r.count(&r.result.Files, x.entry, err)
			if err == nil {
				r.result.Bytes += x.entry.Size
			}
			r.a.Events.done(1, x.entry.Size)
		}
		return ctx.Err()
	}, itemColumns+`WHERE pieces = 0 OR same ORDER BY n`)
}

// check reads every shard of what the snapshot needs, those included that no reader
// had need of. What cannot be read at all is told of the files that need it.
func (r *restore) check(ctx context.Context) error {
	c := &Checked{Unsound: []Unsound{}}
	r.result.Checked = c
	for _, id := range append([]datamesh.ObjectID{r.result.ID}, r.packs...) {
		is, err := r.a.mesh.Check(ctx, id.String())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.a.Events.note(fmt.Sprintf("the shards of %s could not be checked: %v", id, err))
			continue
		}
		c.Objects++
		c.Shards += is.Shards
		if len(is.Bad)+is.Missing > 0 {
			c.Unsound = append(c.Unsound, Unsound{id, len(is.Bad), is.Missing})
		}
		for _, b := range is.Bad {
			if !slices.ContainsFunc(r.result.Bad, func(x node.BadShard) bool {
				return x.Segment == b.Segment && x.Index == b.Index && x.Peer == b.Peer
			}) && len(r.result.Bad) < maxBad {
				r.result.Bad = append(r.result.Bad, b)
			}
		}
	}
	return nil
}

// count counts an entry as written, or as failed.
func (r *restore) count(done *int64, e tree.Entry, err error) {
	if err != nil {
		r.failures.add(e.Path, err)
		return
	}
	*done++
}

// pack restores what is in a pack. That it cannot be read is told of the files
// that need it.
func (r *restore) pack(ctx context.Context, place int) error {
	var first int64
	if ok, err := r.row(ctx, []any{&first}, `SELECT offset FROM piece WHERE pack = ? ORDER BY offset LIMIT 1`, place); err != nil || !ok {
		return err
	}
	if r.w == nil {
		first = 0 // all of it is to be read
	}
	p := &pieces{r: r, place: place}
	take := func(content io.Reader) error { return p.take(ctx, content) }
	id := r.packs[place]
	p.at = first
	fetched, err := read(ctx, r.a.mesh, id, first, take)
	if errors.Is(err, errs.Deleted) {
		if _, back := r.a.mesh.Undelete(ctx, id.String()); back == nil {
			r.a.Events.note(fmt.Sprintf("the pack %s was deleted, though a snapshot needs it, and is brought back", id))
			p.at = first
			fetched, err = read(ctx, r.a.mesh, id, first, take)
		}
	}
	r.bad(fetched)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errs.Database) || errors.Is(err, errs.Full) {
		return err
	}
	if err != nil {
		return p.fail(ctx, fmt.Errorf("pack %s: %w", id, err))
	}
	return nil
}
