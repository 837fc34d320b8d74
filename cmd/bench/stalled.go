//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"syscall"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/node"

	"golang.org/x/sync/errgroup"
)

// The work of getting objects while a holder says nothing, and its sockets stay open.
const (
	healthyGet = "get objects of 1 MiB through a running node, 4 in flight"
	stalledGet = "get the same while one holder has just been stopped"

	stalledSize     = 1 << 20
	stalledInFlight = 4

	longest   = "ms, the longest"
	sentShare = "bytes sent by the other nodes for each byte of content"
)

// measureStalled gets objects through the second node, which keeps nothing of what it
// has read, twice in each run: while all is well, and from the moment on in which one
// of the other nodes is stopped (SIGSTOP), another one each time.
func measureStalled(ctx context.Context, l *lab) error {
	return l.apart(l.dir, func(s *lab) error {
		s.env = []string{"DATAMESH_CACHE_TTL=0s"}
		if err := s.start(ctx); err != nil {
			return err
		}
		ids, content, err := s.putStalled(ctx)
		if err != nil {
			return err
		}
		others := slices.Delete(slices.Clone(s.nodes), 1, 2)
		for i := range s.o.runs {
			if err := s.measureStop(ctx, others[(i+1)%len(others)], ids, content); err != nil {
				return err
			}
		}
		return nil
	})
}

// putStalled stores the objects, each of the same content.
func (l *lab) putStalled(ctx context.Context) (ids []string, content []byte, err error) {
	mesh, err := api.Dial(ctx, config.Home(l.nodes[1].home).Socket())
	if err != nil {
		return nil, nil, err
	}
	defer mesh.Close()
	content = make([]byte, stalledSize)
	mathrand.NewChaCha8([32]byte{3}).Read(content) // it has no error
	for i := range l.o.gets {
		object, err := mesh.Put(ctx, bytes.NewReader(content), node.PutOptions{Name: fmt.Sprintf("stalled/%d", i), Size: stalledSize})
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, object.ID.String())
	}
	return ids, content, nil
}

// measureStop gets all objects before a node is stopped and then, and has it go on. The
// second node begins anew, so that it knows nothing of a node that was stopped before.
func (l *lab) measureStop(ctx context.Context, p *process, ids []string, content []byte) error {
	if err := l.kill(l.nodes[1]); err != nil {
		return err
	}
	if err := l.launch(ctx, l.nodes[1]); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	mesh, err := api.Dial(ctx, config.Home(l.nodes[1].home).Socket())
	if err != nil {
		return err
	}
	defer mesh.Close()
	for _, work := range []string{"", healthyGet} { // the first warms up
		if err := l.getAll(ctx, mesh, work, ids, content); err != nil {
			return err
		}
	}
	err = l.stopped([]*process{p}, func() error { return l.getAll(ctx, mesh, stalledGet, ids, content) })
	return errors.Join(err, l.settle(ctx))
}

// getAll gets all objects, and notes how long each took; as no work nothing is noted.
func (l *lab) getAll(ctx context.Context, mesh *api.Client, work string, ids []string, content []byte) error {
	before, err := l.traffic(ctx, mesh)
	if err != nil {
		return err
	}
	took := make([]float64, len(ids)) // ms
	gets, gctx := errgroup.WithContext(ctx)
	gets.SetLimit(stalledInFlight)
	for i, id := range ids {
		gets.Go(func() error {
			var got bytes.Buffer
			d, err := timed(func() error {
				_, err := mesh.Get(gctx, id, node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return &got, nil })
				return err
			})
			if err == nil && !bytes.Equal(got.Bytes(), content) {
				err = fmt.Errorf("%s did not come back as it was", id)
			}
			took[i] = d.Seconds() * 1000
			return err
		})
	}
	if err := gets.Wait(); err != nil || work == "" {
		return err
	}
	after, err := l.traffic(ctx, mesh)
	if err != nil {
		return err
	}
	l.report.add(work, datameshIt, p50, percentile(took, 50))
	l.report.add(work, datameshIt, p99, percentile(took, 99))
	l.report.add(work, datameshIt, longest, slices.Max(took))
	l.report.add(work, datameshIt, sentShare, float64(after.sent-before.sent)/float64(len(ids)*len(content)))
	return nil
}

// stopped does something while nodes are stopped, which their sockets do not tell: to
// the others it is as if the power of each had been cut.
func (l *lab) stopped(nodes []*process, do func() error) (err error) {
	for _, p := range nodes {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.cmd.Process.Signal(syscall.SIGCONT)) }()
	}
	return do()
}
