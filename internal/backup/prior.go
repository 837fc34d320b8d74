package backup

import (
	"bufio"
	"context"
	"io"

	"datamesh"
	"datamesh/internal/format"
)

// A prior is the last snapshot of a name, by the paths of its files.
type prior struct {
	*database
	packs []priorPack
}

// A priorPack is a pack that it needs.
type priorPack struct {
	id            datamesh.ObjectID
	asked, usable bool
	place         int // in the snapshot that is made
}

// openPrior reads the newest listed snapshot of a name, if there is one whose
// chunks are those of this owner's keys. One that cannot be read is passed over.
func (a *Archive) openPrior(ctx context.Context, work scratch, name string) (*prior, error) {
	all, err := a.mesh.BackupObjects(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, s := range all.Snapshots {
		if s.Deleted || s.Name != name {
			continue
		}
		p, err := a.readPrior(ctx, work.path("prior.db"), s.ID)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			return p, nil
		}
		a.Events.note("the last snapshot of that name cannot be read, so all files are read: " + err.Error())
		return nil, nil
	}
	return nil, nil
}

func (a *Archive) readPrior(ctx context.Context, path string, id datamesh.ObjectID) (*prior, error) {
	d, err := openDatabase(ctx, path, "journal_mode(OFF)", "synchronous(OFF)", "cache_size(-8192)")
	if err != nil {
		return nil, err
	}
	p := &prior{database: d}
	if _, err = p.exec(ctx, `
		CREATE TABLE file (path TEXT PRIMARY KEY, parts INTEGER, size INTEGER, mode INTEGER, modified INTEGER, inode INTEGER, changed INTEGER) WITHOUT ROWID;
		CREATE TABLE part (path TEXT, part INTEGER, body BLOB, PRIMARY KEY (path, part)) WITHOUT ROWID`); err == nil {
		_, err = read(ctx, a.mesh, id, 0, func(r io.Reader) error { return p.fill(ctx, r, a.keys.IDs) })
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// fill notes the files of a snapshot, each with what is in the last of its
// entries, and the chunks of all its entries.
func (p *prior) fill(ctx context.Context, r io.Reader, key [32]byte) error {
	s := format.NewSnapshotReader(bufio.NewReaderSize(r, 1<<20))
	return p.write(ctx, func(w *writing) error {
		part := 0
		for {
			b, err := s.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if s.Head.Key != key {
				return nil // nothing of it can be taken over
			}
			for _, id := range b.Packs {
				p.packs = append(p.packs, priorPack{id: id})
			}
			for i := range b.Entries {
				e := &b.Entries[i]
				if e.Kind != format.TreeFile {
					continue
				}
				if _, err := w.exec(`INSERT OR REPLACE INTO part (path, part, body) VALUES (?, ?, ?)`, e.Path, part, format.Marshal(e)); err != nil {
					return err
				}
				if part++; e.More {
					continue
				}
				if _, err := w.exec(`INSERT OR REPLACE INTO file (path, parts, size, mode, modified, inode, changed) VALUES (?, ?, ?, ?, ?, ?, ?)`,
					e.Path, part, e.Size, e.Mode, e.ModTime, int64(e.Inode), e.Changed); err != nil {
					return err
				}
				part = 0
			}
		}
	})
}

// takeOver adds a file as it was, if it is the same still, and all packs may be
// used that it is in.
func (p *prior) takeOver(ctx context.Context, s *snapshotter, now *format.TreeEntry) (ok bool, err error) {
	var parts int
	ok, err = p.row(ctx, []any{&parts}, `SELECT parts FROM file WHERE path = ? AND size = ? AND mode = ? AND modified = ? AND inode = ? AND changed = ?`,
		now.Path, now.Size, now.Mode, now.ModTime, int64(now.Inode), now.Changed)
	for part := 0; part < parts && ok && err == nil; part++ {
		_, ok, err = p.part(ctx, s, now.Path, part)
	}
	for part := 0; part < parts && ok && err == nil; part++ {
		var e *format.TreeEntry
		if e, ok, err = p.part(ctx, s, now.Path, part); ok && err == nil {
			err = s.add(e)
		}
	}
	return ok, err
}

// part returns an entry of a file, with the places that its packs have now. ok
// is false if one may not be used.
func (p *prior) part(ctx context.Context, s *snapshotter, path string, part int) (e *format.TreeEntry, ok bool, err error) {
	var body []byte
	if ok, err := p.row(ctx, []any{&body}, `SELECT body FROM part WHERE path = ? AND part = ?`, path, part); err != nil || !ok {
		return nil, false, err
	}
	e = new(format.TreeEntry)
	if err := format.Unmarshal("entry of a tree", body, format.MaxSnapshotBlock, e); err != nil {
		return nil, false, err
	}
	for i := range e.Chunks {
		k := &p.packs[e.Chunks[i].Pack] // the reader has seen that it is there
		if !k.asked {
			k.asked = true
			n, ok, err := s.a.index.usablePack(ctx, k.id)
			if err != nil {
				return nil, false, err
			}
			if k.usable = ok; ok {
				if k.place, err = s.table.place(ctx, s.a.index, n); err != nil {
					return nil, false, err
				}
			}
		}
		if !k.usable {
			return nil, false, nil
		}
		e.Chunks[i].Pack = k.place
	}
	return e, true, nil
}
