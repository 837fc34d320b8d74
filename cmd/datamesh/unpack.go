package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/archive"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// An unpacking is an archive whose entries are stored one by one, and not
// unpacked anywhere.
type unpacking struct {
	path    string  // of the archive, for people
	prefix  string  // of all names, without its slash
	source  *source // nil: it is a stream
	file    io.Closer
	cancel  context.CancelFunc // ends what is read of it
	archive *archive.Reader

	files, bytes int64 // of an archive that was looked through
	times        times // of its files; of a stream, of those that have come

	under  sync.WaitGroup               // items that have not ended
	mu     sync.Mutex                   // guards stored
	stored map[string]datamesh.ObjectID // files, by name: an entry may be another name of any
}

func (u *unpacking) Close() error {
	u.cancel()
	if u.file == nil {
		return nil
	}
	return u.file.Close()
}

// toUnpack returns how many bytes are unpacked to look an archive through.
func (u *unpacking) toUnpack() int64 {
	if u.source == nil || u.archive.Format() != archive.TarGz {
		return 0
	}
	return u.source.size()
}

// lookThrough reads all that an archive says of its entries, if it can be read
// again, so that nothing is stored of one that is to be refused. Kinds: Import, Integrity,
// IO.
func (u *unpacking) lookThrough() error {
	if !u.archive.Again() {
		return nil
	}
	for e, err := range u.archive.Entries() {
		if err != nil {
			return err
		}
		name, err := u.nameOf(e)
		if err != nil {
			return err
		}
		if e.Skipped == nil && name != "" {
			u.files++
			u.bytes += e.Size
			u.times.add(e)
		}
	}
	return u.unchanged()
}

// times are those of files. Programs that build packages give their files one
// for all, or two: what they have made has another than what they have found.
type times struct {
	files int
	seen  []time.Time // different ones, up to enoughTimes
}

// enoughTimes is how many different times the files of an archive have if their
// times are those at which they were written.
const enoughTimes = 3

func (t *times) add(e *archive.Entry) {
	if e.Type != "" || e.Link != "" || e.ModTime.IsZero() {
		return
	}
	t.files++
	if len(t.seen) < enoughTimes && !slices.ContainsFunc(t.seen, e.ModTime.Equal) {
		t.seen = append(t.seen, e.ModTime)
	}
}

// tell reports whether times tell which files have changed: there are enough, or
// each of all files has its own.
func (t *times) tell(all bool) bool {
	return len(t.seen) == enoughTimes || all && t.files == len(t.seen)
}

// unchanged reports whether the file of the archive is what it was. Kind: IO.
func (u *unpacking) unchanged() error {
	if u.source == nil {
		return nil
	}
	now, err := u.source.file.Stat()
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	if now.Size() != u.source.began.Size() || !now.ModTime().Equal(u.source.began.ModTime()) {
		return errs.WithHint(u.source.changed(), "import it again when nothing writes to it")
	}
	return nil
}

func (u *unpacking) count(context.Context) (files, bytes int64, known bool) {
	return u.files, u.bytes, u.archive.Again()
}

// has reports whether a name is one of the archive. Of a stream it is not known
// which there are.
func (u *unpacking) has(name string) bool {
	path := name
	if u.prefix != "" {
		rest, below := strings.CutPrefix(name, u.prefix+"/")
		if name != u.prefix && !below {
			return false
		}
		if path = rest; name == u.prefix {
			return true
		}
	}
	return !u.archive.Again() || u.archive.Has(path)
}

// nameOf returns the name of an entry in the mesh, or "" of a top that has none.
// Kind: Import.
func (u *unpacking) nameOf(e *archive.Entry) (string, error) {
	name := u.prefix
	if e.Path != "." {
		if name = e.Path; u.prefix != "" {
			name = u.prefix + "/" + e.Path
		}
	}
	if err := node.CheckName(name); err != nil {
		return "", errs.WithHint(errs.New(errs.Import, "entry %.200q: %w", e.Name(), err), "give another prefix with --name PREFIX/")
	}
	return name, nil
}

// readAhead is the size up to which a file of a stream is read so that those after
// it are stored at the same time.
const readAhead = 64 << 10

// uploads yields the entries. A large file of a tar is stored before the next is
// looked at: nothing else has its bytes.
func (u *unpacking) uploads(ctx context.Context, ops api.Operations, yield func(putItem, error) bool) error {
	u.stored = map[string]datamesh.ObjectID{}
	defer context.AfterFunc(ctx, u.cancel)() // or what waits for a stream would go on to
	defer u.under.Wait()
	for e, err := range u.archive.Entries() {
		if err == nil {
			err = u.unchanged()
		}
		if err != nil {
			return err
		}
		if e.Skipped != nil {
			if !yield(putItem{path: e.Name()}, leftOut{e.Skipped}) {
				return nil
			}
			continue
		}
		name, err := u.nameOf(e)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		going, err := u.upload(ctx, ops, name, e, yield)
		if !going || err != nil {
			return err
		}
	}
	u.under.Wait()
	return u.unchanged()
}

// upload yields one entry, and reports whether there is to be another.
func (u *unpacking) upload(ctx context.Context, ops api.Operations, name string, e *archive.Entry, yield func(putItem, error) bool) (bool, error) {
	if !u.archive.Again() {
		u.times.add(e)
	}
	item := putItem{name: name, path: e.Name(), entry: e.Entry, untold: !u.times.tell(u.archive.Again())}
	ended := make(chan struct{})
	item.done = func(stored datamesh.ObjectID) {
		if e.Type == "" && stored != (datamesh.ObjectID{}) {
			u.mu.Lock()
			u.stored[name] = stored
			u.mu.Unlock()
		}
		u.under.Done()
		close(ended)
	}
	oneByOne := false
	switch {
	case e.Type != "":
	case e.Link != "":
		u.under.Wait() // the file that it is another name of may be among them
		item.open = func(ctx context.Context) (content, error) { return u.again(ctx, ops, e) }
	case u.archive.Format() != archive.Zip && e.Size <= readAhead:
		b, err := u.readAhead(e)
		if err != nil {
			return false, err
		}
		item.open = func(context.Context) (content, error) { return &unpacked{u, e, io.NopCloser(bytes.NewReader(b))}, nil }
	default:
		oneByOne = u.archive.Format() != archive.Zip
		item.open = func(context.Context) (content, error) {
			r, err := e.Open()
			if err != nil {
				return nil, err
			}
			return &unpacked{u, e, r}, nil
		}
	}
	u.under.Add(1)
	if !yield(item, nil) {
		u.under.Done()
		return false, nil
	}
	if oneByOne {
		<-ended
	}
	return true, nil
}

func (u *unpacking) readAhead(e *archive.Entry) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, e.Size)
	_, err = io.ReadFull(r, b)
	return b, err
}

// An unpacked is the content of an entry.
type unpacked struct {
	u *unpacking
	e *archive.Entry
	io.ReadCloser
}

// Read fails where the end would be if the archive is not what it was: nothing of
// such a one is to be stored.
func (f *unpacked) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err == io.EOF {
		if changed := f.u.unchanged(); changed != nil {
			return n, changed
		}
	}
	return n, err
}

func (f *unpacked) size() int64        { return f.e.Size }
func (f *unpacked) fileMode() uint32   { return f.e.Mode }
func (f *unpacked) modTime() time.Time { return f.e.ModTime }

// fingerprint stands for the content for as long as nobody writes to the
// archive: no two entries of one have one path. Kind: IO.
func (f *unpacked) fingerprint() (string, error) {
	if f.u.source == nil {
		return "", nil
	}
	of, err := f.u.source.fingerprint()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", of, f.e.Size, f.e.Path))
	return hex.EncodeToString(sum[:]), nil
}

// again returns the content of a file of which an entry is another name. It is
// read back from the mesh, by the id that it was stored under: the archive may have
// gone by, and another have its name by now. Kinds: Partial (that file is not
// stored), and those of a get.
func (u *unpacking) again(ctx context.Context, ops api.Operations, e *archive.Entry) (content, error) {
	original, err := u.nameOf(&archive.Entry{Entry: tree.Entry{Path: e.Link}})
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	id, stored := u.stored[original]
	u.mu.Unlock()
	if !stored {
		return nil, errs.New(errs.Partial, "it is another name of %s, which could not be stored", original)
	}
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	got := &reread{unpacked: unpacked{u, e, out}, cancel: cancel}
	got.reading.Go(func() {
		_, err := ops.Get(ctx, id.String(), node.GetOptions{}, func(info node.ObjectInfo) (io.Writer, error) {
			if info.Size != e.Size {
				return nil, errs.New(errs.Integrity, "it is another name of %s, which has %d bytes and not %d", original, info.Size, e.Size)
			}
			return in, nil
		})
		in.CloseWithError(err) // io.EOF if there is none
	})
	return got, nil
}

// A reread is the content of a file that was stored before.
type reread struct {
	unpacked
	cancel  context.CancelFunc
	reading sync.WaitGroup
}

func (r *reread) fingerprint() (string, error) { return "", nil }

func (r *reread) Close() error {
	r.cancel()
	err := r.unpacked.Close()
	r.reading.Wait()
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
