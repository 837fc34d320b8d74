package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// maxRow is the length of the largest shard that is a row and not a file.
const maxRow = 64 << 10

func (d *Disk) tempDir() string { return filepath.Join(d.dir, "tmp") }

// folder returns the folder of all shards whose segment begins with that byte.
func (d *Disk) folder(first byte) string {
	return filepath.Join(d.dir, "shards", hex.EncodeToString([]byte{first}))
}

func (d *Disk) path(key datamesh.ShardKey) string {
	return filepath.Join(d.folder(key.Segment[0]), fileName(key))
}

func fileName(key datamesh.ShardKey) string {
	return fmt.Sprintf("%x-%d", key.Segment[:], key.Index)
}

// parseFileName is false for a name that fileName does not make.
func parseFileName(s string) (key datamesh.ShardKey, ok bool) {
	segment, index, _ := strings.Cut(s, "-")
	if len(segment) != 2*len(key.Segment) {
		return key, false
	}
	if _, err := hex.Decode(key.Segment[:], []byte(segment)); err != nil {
		return key, false
	}
	key.Index, _ = strconv.Atoi(index)
	return key, fileName(key) == s
}

// makeFolders makes the folders of the store, durably, and empties tmp. Those
// within shards are made when the first shard comes that belongs there.
func (d *Disk) makeFolders() error {
	shards := filepath.Join(d.dir, "shards")
	for _, dir := range []string{d.tempDir(), shards} {
		if err := makeDir(dir); err != nil {
			return errs.New(kindOf(err), "store: %w", err)
		}
	}
	return d.clearTemp()
}

// clearTemp removes what puts have left that were cut off.
func (d *Disk) clearTemp() error {
	files, err := os.ReadDir(d.tempDir())
	for _, file := range files {
		err = errors.Join(err, os.Remove(filepath.Join(d.tempDir(), file.Name())))
	}
	if err != nil {
		return errs.New(kindOf(err), "store: %w", err)
	}
	return nil
}

// makeDir makes a folder and those above it, durably, unless it is there.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// writeTemp writes the parts to a new file in tmp and syncs it. The caller
// puts the file in its place or removes it.
func (d *Disk) writeTemp(parts ...[]byte) (path string, err error) {
	f, err := os.CreateTemp(d.tempDir(), "shard-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	for _, b := range parts {
		if _, err := f.Write(b); err != nil {
			return "", err
		}
	}
	return f.Name(), f.Sync()
}

// moveInto gives a file another name, and makes the folder of that first, durably,
// if there is none.
func moveInto(temp, path string) error {
	err := os.Rename(temp, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// A shardFile is the file of a shard of n bytes, open for reading.
type shardFile struct {
	*os.File
	start int64 // of the shard
	n     int
}

// openRegular opens a file to be read. It does not touch what is no regular
// file: a pipe would wait for a writer. Kind: Integrity, if it is none; other
// errors are the system's.
func openRegular(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errs.New(errs.Integrity, "%s is no regular file", path)
	}
	return os.Open(path)
}

// isFile reports whether there is a regular file of that size.
func isFile(path string, size int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// openFile opens the file of a shard of n bytes, which the index says is size
// bytes long. Kinds: Integrity (it is not), FileNotFound (there is none), IO.
func (d *Disk) openFile(key datamesh.ShardKey, size int64, n int) (*shardFile, error) {
	f, err := openRegular(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.FileNotFound, "get %s: its file is gone", name(key))
	}
	if errors.Is(err, errs.Integrity) {
		return nil, fmt.Errorf("get %s: %w", name(key), err)
	}
	if err != nil {
		return nil, errs.New(kindOf(err), "get %s: %w", name(key), err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, errs.New(kindOf(err), "get %s: %w", name(key), err)
	}
	if info.Size() != size || size < fileSize(prefixSize, n) {
		f.Close()
		return nil, errs.New(errs.Integrity, "get %s: its file has %d bytes, not %d", name(key), info.Size(), size)
	}
	return &shardFile{f, size - int64(n), n}, nil
}

// read fills buf with the shard.
func (f *shardFile) read(buf []byte) error {
	_, err := f.ReadAt(buf, f.start)
	return err
}

// slice returns n bytes of the shard from off on and their proof. It reads
// the outboard and the groups that the range touches.
func (f *shardFile) slice(off, n int) ([]byte, error) {
	outboard := make([]byte, hash.OutboardSize(f.n))
	if _, err := f.ReadAt(outboard, f.start-int64(len(outboard))); err != nil {
		return nil, err
	}
	return hash.Slice(io.NewSectionReader(f, f.start, int64(f.n)), f.n, outboard, off, n)
}
