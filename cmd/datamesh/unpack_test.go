//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// A writtenMesh stores what it reads, and has somebody write to a file before it
// reads the object of a name.
type writtenMesh struct {
	api.Operations
	name, file string
	wrote      atomic.Bool
	after      atomic.Int64 // objects that were stored whole when that was written
}

func (m *writtenMesh) Put(_ context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	if o.Name == m.name {
		when := time.Unix(2e9, 0)
		if err := os.Chtimes(m.file, when, when); err != nil {
			return nil, err
		}
		m.wrote.Store(true)
	}
	wrote := m.wrote.Load()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if wrote {
		m.after.Add(1)
	}
	return &node.Stored{Size: o.Size}, nil
}

// Nothing is stored of an archive once somebody has written to it, and what was
// before is said to be of doubt, whichever file is being read then.
func TestNothingIsStoredOfAnArchiveThatChanges(t *testing.T) {
	for _, format := range []string{"tar", "tar.gz", "zip"} {
		for _, size := range []int{100, 100_000} { // one is read ahead of its turn
			for _, at := range []int{0, 1, 19} {
				t.Run(fmt.Sprint(format, " ", size, " ", at), func(t *testing.T) {
					var files []packed
					for i := range 20 {
						files = append(files, packed{fmt.Sprint(i), string(bytes.Repeat([]byte{byte(i)}, size)), time.Unix(1e9+int64(i), 0)})
					}
					file := filepath.Join(t.TempDir(), "a")
					if err := os.WriteFile(file, pack(t, format, files...), 0o600); err != nil {
						t.Fatal(err)
					}
					var text bytes.Buffer
					c := &cli{out: &text, err: &text}
					u, err := c.openImport(t.Context(), file, "", 0)
					if err != nil {
						t.Fatal(err)
					}
					defer u.Close()
					if err := u.lookThrough(); err != nil {
						t.Fatal(err)
					}
					mesh := &writtenMesh{name: fmt.Sprint(at), file: file}
					p := &putBatch{tally: c.newTally("import"), ops: mesh}
					p.run(t.Context(), u)
					if n := mesh.after.Load(); n > 0 {
						t.Errorf("%d files were stored after it was written to", n)
					}
					err = p.end(file)
					if !errors.Is(err, errs.IO) || !errors.Is(err, errChanged) {
						t.Errorf("it ends with %v: %s", err, text.Bytes())
					}
					want := "import it again when nothing writes to it"
					if p.batch.Stored > 0 {
						want = "what was stored of it may be damaged; with the good archive: datamesh import FILE --all"
					}
					if got := errs.HintFor(err); got != want {
						t.Errorf("after %d stored it says %q", p.batch.Stored, got)
					}
				})
			}
		}
	}
}
