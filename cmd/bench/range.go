//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/node"

	"golang.org/x/sync/errgroup"
)

// The work of reading parts of a large object through a running node.
const (
	rangeFirst = "get 64 KiB somewhere in an object twice as large, through a running node, the first time"
	rangeAgain = "get the same 64 KiB again"
	rangeCrowd = "get the same 64 KiB once more, 8 in flight"

	rangeSize  = 64 << 10
	rangeCount = 400 // are read

	rangeInFlight = 8

	sentKiB = "KiB sent by the other nodes for each"
	calls   = "calls of other nodes for each"
)

// measureRange reads random ranges of an object, each twice, one after the other, and
// then several at once, and compares them. What nodes send is what they write, with all but the headers of packets; the second
// node has a sixth of all shards itself.
func measureRange(ctx context.Context, l *lab) (err error) {
	if err := l.start(ctx); err != nil {
		return err
	}
	file, err := l.largeFile()
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	mesh, err := api.Dial(ctx, config.Home(l.nodes[1].home).Socket())
	if err != nil {
		return err
	}
	defer mesh.Close()
	twice := io.MultiReader(io.NewSectionReader(f, 0, l.o.size), io.NewSectionReader(f, 0, l.o.size))
	object, err := mesh.Put(ctx, twice, node.PutOptions{Name: "range", Size: 2 * l.o.size})
	if err != nil {
		return err
	}
	offsets := make([]int64, rangeCount)
	for i := range offsets { // none over the middle, where the file begins again
		offsets[i] = mathrand.Int64N(l.o.size-rangeSize) + l.o.size*mathrand.Int64N(2)
	}
	for _, work := range []string{rangeFirst, rangeAgain} {
		before, err := l.traffic(ctx, mesh)
		if err != nil {
			return err
		}
		began := time.Now()
		for _, offset := range offsets {
			if err := l.getRange(ctx, mesh, object.ID.String(), offset, f); err != nil {
				return err
			}
		}
		took := time.Since(began)
		after, err := l.traffic(ctx, mesh)
		if err != nil {
			return err
		}
		l.report.add(work, datameshIt, rate, rangeCount/took.Seconds())
		l.report.add(work, datameshIt, sentKiB, float64(after.sent-before.sent)/(1<<10)/rangeCount)
		l.report.add(work, datameshIt, calls, (after.calls-before.calls)/rangeCount)
		mathrand.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
	}
	for range l.o.runs {
		began := time.Now()
		gets, gctx := errgroup.WithContext(ctx)
		gets.SetLimit(rangeInFlight)
		for _, offset := range offsets {
			gets.Go(func() error { return l.getRange(gctx, mesh, object.ID.String(), offset, f) })
		}
		if err := gets.Wait(); err != nil {
			return err
		}
		l.report.add(rangeCrowd, datameshIt, rate, rangeCount/time.Since(began).Seconds())
	}
	_, err = mesh.Delete(ctx, object.ID.String(), node.DeleteOptions{Now: true})
	return err
}

// getRange reads a range of an object that has a file twice, and compares it.
func (l *lab) getRange(ctx context.Context, mesh *api.Client, id string, offset int64, file io.ReaderAt) error {
	var got bytes.Buffer
	got.Grow(rangeSize)
	o := node.GetOptions{Range: &node.Range{Offset: offset, Length: rangeSize}}
	if _, err := mesh.Get(ctx, id, o, func(node.ObjectInfo) (io.Writer, error) { return &got, nil }); err != nil {
		return err
	}
	want := make([]byte, rangeSize)
	if _, err := file.ReadAt(want, offset%l.o.size); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("64 KiB from %d on did not come back as they were", offset)
	}
	return nil
}

// traffic is what there was between the second node and the others.
type traffic struct {
	sent  int64   // bytes that the others have written, to whomever
	calls float64 // for shards, by the second node
}

func (l *lab) traffic(ctx context.Context, mesh *api.Client) (t traffic, err error) {
	for i, p := range l.nodes {
		if i == 1 {
			continue
		}
		u, err := usedBy(p.cmd.Process.Pid)
		if err != nil {
			return t, err
		}
		t.sent += u.out
	}
	m, err := mesh.Metrics(ctx)
	if err != nil {
		return t, err
	}
	for _, s := range m.Metrics {
		if s.Name == "datamesh_shard_operations_total" && s.Labels["store"] == "remote" {
			t.calls += s.Value
		}
	}
	return t, nil
}
