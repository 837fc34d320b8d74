//go:build linux

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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

	oneBefore = "the disk, one file as large as all shards, synced at its end, before the put"
	oneAfter  = "the disk, one file as large as all shards, synced at its end, after the put"
	oneFile   = "the disk, one file as large as all shards, the better of both"
	manyFiles = "the disk, as many files as shards, each synced"
	readFile  = "the disk, reading one file"
	copyFile  = "the disk, copying one file, synced at its end"
)

// measureDisk puts and gets the large file with nodes, client and file on one disk,
// and beside each what the same disk does when nothing else is done: it writes as
// much as a put, and reads and writes as much as a get.
func measureDisk(ctx context.Context, l *lab) error {
	parent, err := l.diskDir(diskPut, diskGet)
	if parent == "" || err != nil {
		return err
	}
	return l.apart(parent, func(a *lab) error {
		store, err := measureStore(a.dir)
		if err != nil {
			return err
		}
		l.report.Disk = &store
		d := &disk{a}
		id, err := d.putLarge(ctx)
		if err != nil {
			return err
		}
		for range d.o.runs {
			if err := d.writes(ctx); err != nil {
				return err
			}
			if err := d.reads(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// diskDir is where works on a disk are done. It is "", which is noted, if there is none.
func (l *lab) diskDir(works ...string) (dir string, err error) {
	if dir = cmp.Or(l.o.disk, l.o.dir); dir == "" {
		if dir, err = os.UserCacheDir(); err != nil {
			return "", err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	}
	fs, err := filesystem(dir)
	if err != nil || fs != inMemory {
		return dir, err
	}
	for _, work := range works {
		l.report.notMeasured(work, "%s is in memory: give a directory of a disk with -disk", dir)
	}
	return "", nil
}

// A disk is a lab on a disk.
type disk struct{ *lab }

// writes puts the large file, and has the disk write as many bytes, before and after:
// a disk may be quicker at first than it is for long.
func (d *disk) writes(ctx context.Context) error {
	before, err := d.plain(ctx, oneBefore, false)
	if err != nil {
		return err
	}
	if err := d.calm(ctx); err != nil {
		return err
	}
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
	after, err := d.plain(ctx, oneAfter, false)
	if err != nil {
		return err
	}
	d.report.add(diskPut, oneFile, written, max(before, after))
	if _, err := d.plain(ctx, manyFiles, true); err != nil {
		return err
	}
	return d.do(ctx, nil, "rm", s.ID, "--now") // after all that it would slow down
}

// plain has the disk write as many bytes as a put does, to one file or to as many as
// there are shards, and returns how many MB it wrote a second.
func (d *disk) plain(ctx context.Context, by string, many bool) (rate float64, err error) {
	if err := d.calm(ctx); err != nil {
		return 0, err
	}
	piece := make([]byte, datamesh.MaxSealed/4)
	rand.Read(piece)
	pieces := int(spread*float64(d.o.size)/float64(len(piece))) + 1
	files := 1
	if many {
		files = pieces
	}
	dir := filepath.Join(d.dir, "plain")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	wall, err := timed(func() error {
		for i := range files {
			if err := writeFile(filepath.Join(dir, fmt.Sprint(i)), piece, pieces/files); err != nil {
				return err
			}
		}
		return nil
	})
	rate = float64(pieces*len(piece)) / 1e6 / wall.Seconds()
	d.report.add(diskPut, by, written, rate)
	return rate, err
}

// calm waits until the kernel has written what is to be written to the disk, but not for
// ever, since others may go on.
func (d *disk) calm(ctx context.Context) error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return err
	}
	for range 100 {
		left := int64(0)
		for _, line := range []string{"\nDirty:", "\nWriteback:"} {
			kib, err := parseNumber(after("/proc/meminfo", line))
			if err != nil {
				return err
			}
			left += kib << 10
		}
		if left < 1<<20 {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// reads gets the large file, and has the disk read a file as large, and copy it.
// Before each the kernel is told to forget what it has of the files.
func (d *disk) reads(ctx context.Context, id string) error {
	out, content := filepath.Join(d.dir, "out"), float64(d.o.size)
	defer os.Remove(out)
	if err := d.calm(ctx); err != nil {
		return err
	}
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
		if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := d.calm(ctx); err != nil {
			return err
		}
		if err := forget(d.large); err != nil {
			return err
		}
		before, err := usedBy(os.Getpid())
		if err != nil {
			return err
		}
		wall, err := timed(func() error { return plainCopy(by.to, d.large) })
		if err != nil {
			return err
		}
		after, err := usedBy(os.Getpid())
		if err != nil {
			return err
		}
		d.report.add(diskGet, by.name, speed, content/1e6/wall.Seconds())
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
