package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A Source is a tree to be read: see [tree.Tree].
type Source interface {
	Walk(ctx context.Context) iter.Seq2[tree.Entry, error]
	File(e tree.Entry) (*os.File, error)
}

// RunOptions say what a backup is of.
type RunOptions struct {
	Name  string // of the snapshot
	Path  string // of the tree, to be remembered
	Host  string // likewise
	Force bool   // read all files, also those that have not changed, and put anew what cannot be read from the mesh now
}

// A Result is what came of a backup.
type Result struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Files    int64             `json:"files"`
	Dirs     int64             `json:"dirs"`
	Links    int64             `json:"links"`
	Bytes    int64             `json:"bytes"`     // of all files
	Read     int64             `json:"read"`      // of those that were read
	NewBytes int64             `json:"new_bytes"` // that were not in the mesh before, those of the snapshot included
	Packs    int               `json:"packs"`     // that the snapshot needs
	Survives int               `json:"survives"`  // peers that may vanish without loss of anything that the snapshot needs
	Failed   int               `json:"failed"`    // files and directories that could not be read
	Failures []Failure         `json:"failures"`  // the first 1000 of them
	Swept    Sweep             `json:"swept"`     // of packs that nobody needs
}

// attempts is how often a backup is made anew when packs that it was to use turn
// out to be lost.
const attempts = 3

// Run makes a snapshot of a tree. When it returns without an error the snapshot
// is in the mesh, and so is all that it needs. Files that cannot be read are
// told in the result; devices, sockets and pipes are noted, and left out. Kinds: as [node.Node.Put], and those of
// the index.
func (a *Archive) Run(ctx context.Context, source Source, o RunOptions) (*Result, error) {
	release, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := a.learn(ctx); err != nil {
		return nil, err
	}
	if err := a.heal(ctx); err != nil {
		return nil, err
	}
	if err := a.reconsider(ctx, new(Sweep)); err != nil {
		return nil, err
	}
	var before []datamesh.ObjectID // that the next attempt takes the place of
	var total Result
	for range attempts {
		r, err := a.attempt(ctx, source, o, len(before) > 0)
		if err != nil {
			return nil, err
		}
		r.Read, r.NewBytes = r.Read+total.Read, r.NewBytes+total.NewBytes
		lost, err := a.settle(ctx, r.ID)
		if err == nil && lost == 0 {
			lost, err = a.sound(ctx, r, o.Force)
			if errors.Is(err, errUnsound) {
				return nil, err
			}
		}
		if err != nil {
			return nil, errs.WithHint(errs.New(errs.KindOf(err), "the snapshot %s is stored, and whether nobody has deleted anything that it needs could not be found out: %w", r.ID, err),
				"type the same again: what is stored is not sent twice")
		}
		if lost == 0 {
			for _, id := range before { // it is acknowledged, whatever comes of these
				if _, err := a.mesh.Delete(ctx, id.String(), node.DeleteOptions{}); err != nil {
					a.Events.note("a snapshot of which a part was lost could not be deleted: " + id.String() + ": " + err.Error())
				}
			}
			return r, nil
		}
		a.Events.note("packs that it needs are lost, or were deleted meanwhile by another device: what was in them is put anew")
		before, total = append(before, r.ID), *r
	}
	return nil, errs.New(errs.Backup, "packs that it needs are lost again and again")
}

// attempt makes a snapshot, and notes in the index what it needs.
func (a *Archive) attempt(ctx context.Context, source Source, o RunOptions, again bool) (*Result, error) {
	work, err := a.newScratch()
	if err != nil {
		return nil, err
	}
	defer work.remove()
	if err := a.index.prepare(ctx); err != nil {
		return nil, err
	}
	s := &snapshotter{a: a, o: o, table: &table{known: map[int64]int{}}, began: a.now()}
	if !o.Force || again {
		prior, err := a.openPrior(ctx, work, o.Name)
		if err != nil {
			return nil, err
		}
		if prior != nil {
			defer prior.close()
		}
		s.prior = prior
	}
	if s.cutter, err = a.newCutter(); err != nil {
		return nil, err
	}
	spool, err := os.OpenFile(work.path("entries"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errs.New(durable.KindOf(err), "make a snapshot: %w", err)
	}
	defer spool.Close()
	s.out = bufio.NewWriterSize(spool, 1<<20)
	s.packer = a.newPacker(ctx, s.table)
	if err = s.walk(ctx, source); err == nil {
		err = s.packer.wait()
	}
	if err != nil {
		s.packer.abort(err)
		return nil, s.packer.cause(err)
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	return s.put(ctx, spool)
}

// A snapshotter makes one snapshot.
type snapshotter struct {
	a      *Archive
	o      RunOptions
	began  time.Time
	table  *table
	packer *packer
	cutter *cutter
	prior  *prior // nil: none
	out    *bufio.Writer
	result Result

	failures Failures

	block format.SnapshotBlock
	size  int // of the block, at most
}

func (s *snapshotter) walk(ctx context.Context, source Source) error {
	for e, err := range source.Walk(ctx) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, tree.ErrSpecial) {
			s.a.Events.note(e.Path + " is left out: " + tree.ErrSpecial.Error())
			continue
		}
		if err != nil {
			s.skip(e.Path, err)
			continue
		}
		if err := s.entry(ctx, source, e); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *snapshotter) skip(path string, err error) {
	s.failures.add(path, err)
}

// entry adds an entry. An error ends the backup; a file that cannot be read does
// not.
func (s *snapshotter) entry(ctx context.Context, source Source, e tree.Entry) error {
	out := format.TreeEntry{Path: e.Path, Mode: e.Mode, ModTime: format.UnixNano(e.ModTime)}
	switch e.Type {
	case tree.Directory:
		out.Kind = format.TreeDir
		s.result.Dirs++
		return s.add(&out)
	case tree.Symlink:
		out.Kind, out.Target = format.TreeLink, e.Target
		s.result.Links++
		return s.add(&out)
	}
	f, err := source.File(e)
	if err != nil {
		s.skip(e.Path, err)
		return nil
	}
	defer f.Close()
	if err := s.file(ctx, f, &out); err != nil {
		if broken, ok := errors.AsType[*unreadable](err); ok {
			s.skip(e.Path, broken.err)
			return nil
		}
		return err
	}
	s.result.Files++
	s.result.Bytes += out.Size
	s.a.Events.done(1, 0)
	return nil
}

// An unreadable file does not end a backup.
type unreadable struct{ err error }

func (u *unreadable) Error() string { return u.err.Error() }

// tick is what the times of all file systems can tell apart.
const tick = 2 * time.Second

// file adds a file: where it was before, if it has not changed since, or else
// what is read of it.
func (s *snapshotter) file(ctx context.Context, f *os.File, out *format.TreeEntry) error {
	is, err := f.Stat()
	if err != nil {
		return &unreadable{errs.New(errs.IO, "%s: %w", out.Path, err)}
	}
	out.Mode, out.ModTime, out.Size = datamesh.ModeOf(is.Mode()), format.UnixNano(is.ModTime()), is.Size()
	inode, changed := identity(is)
	if s.prior != nil && inode != 0 {
		out.Inode, out.Changed = inode, changed
		if ok, err := s.prior.takeOver(ctx, s, out); ok || err != nil {
			s.a.Events.done(0, out.Size)
			return err
		}
		out.Inode, out.Changed = 0, 0
	}
	looked := s.a.now()
	size, err := s.content(f, out)
	if err != nil {
		return err
	}
	s.result.Read += size
	is, err = f.Stat()
	if err != nil {
		is = nil
	}
	switch {
	case is == nil || size != out.Size || !same(is, inode, changed, out.ModTime):
		s.a.Events.note(out.Path + " changed while it was read: the snapshot has of it what was there then")
	case max(changed, out.ModTime) < looked.Add(-tick).UnixNano(): // else it may change and keep its times
		out.Inode, out.Changed = inode, changed
	}
	out.Size = size
	return s.add(out)
}

func same(is os.FileInfo, inode uint64, changed, modified int64) bool {
	now, then := identity(is)
	return now == inode && then == changed && format.UnixNano(is.ModTime()) == modified
}

// content packs what is read of a file. It leaves the last chunks in out; if
// there are many, those before them are in the snapshot already. A file that
// cannot be read to its end is there as far as it could, which is told.
func (s *snapshotter) content(r io.Reader, out *format.TreeEntry) (size int64, err error) {
	var failed error // of what is behind it: the file can be read
	err = s.cutter.cut(r, func(b []byte) error {
		if len(out.Chunks) == format.FewChunks {
			if failed = s.add(&format.TreeEntry{Path: out.Path, Chunks: out.Chunks, More: true}); failed != nil {
				return failed
			}
			out.Chunks = nil
		}
		ref, err := s.packer.add(b)
		if err != nil {
			failed = err
			return err
		}
		size += int64(len(b))
		s.a.Events.done(0, int64(len(b)))
		out.Chunks = append(out.Chunks, ref)
		return nil
	})
	if failed != nil {
		return size, failed
	}
	if err != nil && size == 0 {
		return size, &unreadable{errs.New(errs.IO, "%s: %w", out.Path, err)}
	}
	if err != nil {
		s.skip(out.Path, errs.New(errs.IO, "%s could be read in part: %w", out.Path, err))
	}
	return size, nil
}

const (
	entryMost = 128 // bytes of an entry, without its texts and chunks, at most
	chunkMost = 56  // of a chunk
)

// add adds an entry to the snapshot.
func (s *snapshotter) add(e *format.TreeEntry) error {
	size := entryMost + len(e.Path) + len(e.Target) + chunkMost*len(e.Chunks)
	if s.size+size > format.MaxSnapshotBlock-entryMost || len(s.block.Entries) == format.MaxTreeEntries {
		if err := s.finish(); err != nil {
			return err
		}
	}
	s.size += size
	s.block.Entries = append(s.block.Entries, *e)
	return nil
}

// finish writes the block that is begun.
func (s *snapshotter) finish() error {
	if len(s.block.Entries) > 0 {
		text, err := format.AppendSnapshotBlock(nil, &s.block)
		if err != nil {
			return err
		}
		if _, err := s.out.Write(text); err != nil {
			return errs.New(durable.KindOf(err), "make a snapshot: %w", err)
		}
	}
	s.block, s.size = format.SnapshotBlock{}, 0
	if err := s.out.Flush(); err != nil {
		return errs.New(durable.KindOf(err), "make a snapshot: %w", err)
	}
	return nil
}

// packsInBlock is how many ids of packs go into one block.
const packsInBlock = 1000

// put stores the snapshot, whose entries are in the spool.
func (s *snapshotter) put(ctx context.Context, spool *os.File) (*Result, error) {
	r := &s.result
	open := func() (io.Reader, error) {
		if _, err := spool.Seek(0, io.SeekStart); err != nil {
			return nil, errs.New(errs.IO, "make a snapshot: %w", err)
		}
		head, err := format.AppendSnapshotBlock(nil, &format.SnapshotBlock{Head: &format.SnapshotHead{Key: s.a.keys.IDs,
			Began: s.began.UnixNano(), Packs: len(s.table.ids), Source: s.o.Path, Host: s.o.Host}})
		for from := 0; from < len(s.table.ids) && err == nil; from += packsInBlock {
			head, err = format.AppendSnapshotBlock(head, &format.SnapshotBlock{Packs: s.table.ids[from:min(from+packsInBlock, len(s.table.ids))]})
		}
		if err != nil {
			return nil, err
		}
		end, err := format.AppendSnapshotBlock(nil, &format.SnapshotBlock{End: &format.SnapshotEnd{
			Files: r.Files, Dirs: r.Dirs, Links: r.Links, Bytes: r.Bytes, New: s.packer.bytes}})
		if err != nil {
			return nil, err
		}
		return io.MultiReader(bytes.NewReader(head), spool, bytes.NewReader(end)), nil
	}
	content, err := open()
	if err != nil {
		return nil, err
	}
	stored, err := s.a.mesh.Put(ctx, content, node.PutOptions{Name: s.o.Name, Type: format.SnapshotType})
	if err != nil {
		return nil, err
	}
	for _, w := range stored.Warnings {
		s.a.Events.note(w)
	}
	if content, err = open(); err != nil {
		return nil, err
	}
	r.Failed, r.Failures = s.failures.Failed, append([]Failure{}, s.failures.Failures...)
	r.ID, r.Name, r.Packs, r.Survives, r.NewBytes = stored.ID, s.o.Name, len(s.table.ids), stored.Survives, s.packer.bytes+stored.Size
	return r, s.a.index.take(ctx, stored.ID, isListed, s.a.keys.IDs, format.NewSnapshotReader(bufio.NewReader(content)))
}
