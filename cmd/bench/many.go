//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/node"

	"golang.org/x/sync/errgroup"
)

// The work of storing so many small objects that what each leaves behind counts.
const (
	manyPuts = "put very many objects of 4 KiB through a running node, 64 in flight"
	manyList = "list very many objects"

	objects    = "objects"
	storedOver = "bytes that all homes grew by for each byte of content"
)

// shares of the objects, in percent, after which the memory of the nodes is looked at.
var shares = []int64{10, 50, 100}

func atShare(percent int64) string { return fmt.Sprintf("MiB of a node at %d %% of them", percent) }

// measureMany has a node put very many objects, and looks at what the homes of all
// nodes grow by, how the nodes' memory goes, and how long a list of all takes.
func measureMany(ctx context.Context, l *lab) error {
	return l.apart(l.dir, func(m *lab) error { return m.measureMany(ctx) })
}

func (l *lab) measureMany(ctx context.Context) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	before, err := l.homesSize()
	if err != nil {
		return err
	}
	took, err := timed(func() error { return l.putMany(ctx) })
	if err != nil {
		return err
	}
	after, err := l.homesSize()
	if err != nil {
		return err
	}
	n := float64(l.o.many)
	l.report.add(manyPuts, datameshIt, objects, n)
	l.report.add(manyPuts, datameshIt, rate, n/took.Seconds())
	l.report.add(manyPuts, datameshIt, storedOver, float64(after-before)/(n*smallSize))
	for _, p := range l.nodes {
		peak, err := p.peak()
		if err != nil {
			return err
		}
		l.report.add(manyPuts, datameshIt, nodePeak, float64(peak)/(1<<20))
	}
	for range l.o.runs {
		var printed bytes.Buffer
		c, err := l.measureIn(ctx, l.nodes[1].home, &printed, "list")
		if err != nil {
			return err
		}
		var list struct {
			Objects []struct{} `json:"objects"`
		}
		if err := decode(&printed, &list); err != nil {
			return err
		}
		if int64(len(list.Objects)) != l.o.many {
			return fmt.Errorf("a list has %d of %d objects", len(list.Objects), l.o.many)
		}
		l.report.add(manyList, datameshIt, duration, c.wall.Seconds())
	}
	return nil
}

// putMany puts the objects through the second node, and notes the memory of all.
func (l *lab) putMany(ctx context.Context) error {
	mesh, err := api.Dial(ctx, config.Home(l.nodes[1].home).Socket())
	if err != nil {
		return err
	}
	defer mesh.Close()
	var mu sync.Mutex // guards noise
	noise := mathrand.NewChaCha8([32]byte{2})
	var done atomic.Int64
	puts, ctx := errgroup.WithContext(ctx)
	puts.SetLimit(inFlight)
	for i := range l.o.many {
		if ctx.Err() != nil {
			break
		}
		puts.Go(func() error {
			content := make([]byte, smallSize)
			mu.Lock()
			noise.Read(content) // it has no error
			mu.Unlock()
			if _, err := mesh.Put(ctx, bytes.NewReader(content), node.PutOptions{Name: fmt.Sprintf("many/%d", i), Size: smallSize}); err != nil {
				return err
			}
			n := done.Add(1)
			for _, percent := range shares {
				if n == l.o.many*percent/100 {
					return l.noteMemory(percent)
				}
			}
			return nil
		})
	}
	return puts.Wait()
}

// noteMemory notes what memory the nodes have when that share of the objects is there.
func (l *lab) noteMemory(percent int64) error {
	for _, p := range l.nodes {
		n, err := memoryNow(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		l.report.add(manyPuts, datameshIt, atShare(percent), float64(n)/(1<<20))
	}
	return nil
}

// homesSize is how many bytes the files of all homes take on their file system.
func (l *lab) homesSize() (all int64, err error) {
	for _, p := range l.nodes {
		err := filepath.WalkDir(p.home, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if os.IsNotExist(err) {
				return nil // it has just gone
			}
			if err == nil {
				all += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
	}
	return all, nil
}
