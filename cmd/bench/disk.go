//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"datamesh"

	"golang.org/x/sys/unix"
)

// The work of moving a large file on a disk that all processes share.
const (
	diskPut = "put a large file on a disk"
	diskGet = "get a large file on a disk that had to be read"

	written  = "MB/s written" // of all that is written: of a put 1.5 times its content
	fromDisk = "read from the disk for each byte of content"
	toDisk   = "written to the disk for each byte of content"

	oneFile   = "the disk, one file as large as all shards, synced at its end"
	manyFiles = "the disk, as many files as shards, each synced"
	readFile  = "the disk, reading one file"
	copyFile  = "the disk, copying one file, synced at its end"
)

// measureDisk puts and gets the large file with nodes, client and file on one disk,
// and beside each what the same disk does when nothing else is done: it writes as
// much as a put, and reads and writes as much as a get.
func measureDisk(ctx context.Context, l *lab) (err error) {
	parent, err := l.o.diskDir()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, tempPattern)
	if err != nil {
		return fmt.Errorf("make a directory in %s: %w", parent, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := measureStore(dir)
	if err != nil {
		return err
	}
	if store.inMemory() {
		for _, work := range []string{diskPut, diskGet} {
			l.report.notMeasured(work, "%s is in memory: give a directory of a disk with -disk", parent)
		}
		return nil
	}
	l.report.Disk = &store
	d := &disk{lab: l.beside(dir)}
	defer d.close()
	id, err := d.putLarge(ctx)
	if err != nil {
		return err
	}
	for range l.o.runs {
		if err := d.writes(ctx); err != nil {
			return err
		}
		if err := d.reads(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// diskDir is where the work on a disk is done.
func (o options) diskDir() (string, error) {
	for _, dir := range []string{o.disk, o.dir} {
		if dir != "" {
			return dir, nil
		}
	}
	dir, err := os.UserCacheDir()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	return dir, err
}

// A disk is a lab on a disk.
type disk struct{ *lab }

// writes puts the large file, and has the disk write as many bytes.
func (d *disk) writes(ctx context.Context) error {
	var printed strings.Builder
	c, err := d.measure(ctx, &printed, "put", d.large)
	if err != nil {
		return err
	}
	d.moved(diskPut, c)
	content := float64(d.o.size)
	d.report.add(diskPut, datameshIt, written, spread*content/1e6/c.wall.Seconds())
	d.report.add(diskPut, datameshIt, toDisk, float64(c.written)/content)
	var s stored
	if err := decode(strings.NewReader(printed.String()), &s); err != nil {
		return err
	}
	piece := make([]byte, datamesh.MaxSealed/4)
	rand.Read(piece)
	pieces := int(spread*content/float64(len(piece))) + 1
	for _, by := range []struct {
		name  string
		files int
	}{{oneFile, 1}, {manyFiles, pieces}} {
		dir := filepath.Join(d.dir, "plain")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		took, err := timed(func() error {
			for i := range by.files {
				if err := writeFile(filepath.Join(dir, fmt.Sprint(i)), piece, pieces/by.files); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		d.report.add(diskPut, by.name, written, float64(pieces*len(piece))/1e6/took.Seconds())
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return d.do(ctx, nil, "rm", s.ID, "--now") // after all that it would slow down
}

// reads gets the large file, and has the disk read a file as large, and copy it.
// Before each the kernel is told to forget what it has of the files.
func (d *disk) reads(ctx context.Context, id string) error {
	out, content := filepath.Join(d.dir, "out"), float64(d.o.size)
	defer os.Remove(out)
	for _, p := range d.nodes {
		if err := forget(p.home); err != nil {
			return err
		}
	}
	c, err := d.measure(ctx, nil, "get", id, out, "--force")
	if err != nil {
		return err
	}
	d.moved(diskGet, c)
	d.report.add(diskGet, datameshIt, fromDisk, float64(c.read)/content)
	if err := sameFile(d.large, out); err != nil {
		return err
	}
	for _, by := range []struct{ name, to string }{{readFile, os.DevNull}, {copyFile, out}} {
		if err := errors.Join(os.Remove(out), forget(d.large)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		before, err := usedBy(os.Getpid())
		if err != nil {
			return err
		}
		took, err := timed(func() error { return plainCopy(by.to, d.large) })
		if err != nil {
			return err
		}
		after, err := usedBy(os.Getpid())
		if err != nil {
			return err
		}
		d.report.add(diskGet, by.name, speed, content/1e6/took.Seconds())
		d.report.add(diskGet, by.name, fromDisk, float64(after.read-before.read)/content)
	}
	return nil
}

// plainCopy reads a file and writes it to another, a MiB at a time; a regular one
// is synced.
func plainCopy(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Neither end may do it in another way.
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if to == os.DevNull {
		return nil
	}
	return out.Sync()
}

// forget has the kernel drop what it has in memory of a file, or of all files of a
// directory, so that they are read from the disk. What is not written yet it keeps.
func forget(path string) error {
	return filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
