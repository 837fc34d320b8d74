package transfer

import (
	"context"
	"errors"
	"iter"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/mesh"
	"datamesh/internal/store"
)

// A pipe is one end of a stream in memory, which keeps nothing: a write waits
// for its reader.
type pipe struct{ net.Conn }

func (p pipe) Reset() error { return p.Close() }

var anybody = datamesh.PeerID{1}

// dial returns a client whose streams, to whomever, are served by serve, each
// in a goroutine of its own. They end with the test.
func dial(t *testing.T, serve func(from datamesh.PeerID, s mesh.Stream)) *Client {
	t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex // guards ends
	var ends []net.Conn
	c := NewClient(func(_ context.Context, to datamesh.PeerID) (mesh.Stream, error) {
		here, there := net.Pipe()
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, there)
		wait.Go(func() { serve(to, pipe{there}) })
		return pipe{here}, nil
	})
	t.Cleanup(func() {
		c.Close()
		for _, end := range ends {
			end.Close()
		}
		wait.Wait()
	})
	return c
}

// dialServer returns a client of a server of the store.
func dialServer(t *testing.T, shards datamesh.ShardStore) *Client {
	t.Helper()
	sizes, _ := shards.(Sizer)
	server := NewServer(datamesh.PeerID{}, shards, sizes, newRegistry())
	return dial(t, func(from datamesh.PeerID, s mesh.Stream) { server.Handle(t.Context(), from, s) })
}

// asked reads the request on a stream, with its shard. It is false when the
// stream has ended.
func asked(t *testing.T, s mesh.Stream) (req request, shard []byte, ok bool) {
	if err := readMessage(s, "request", &req); err != nil {
		return req, nil, false
	}
	shard = make([]byte, req.Length)
	for n := 0; n < len(shard); {
		got, err := s.Read(shard[n:])
		if err != nil {
			return req, nil, false
		}
		n += got
	}
	return req, shard, true
}

// tell writes a response and the bytes behind it. That nobody reads it any
// more is no failure.
func tell(s mesh.Stream, resp response, body []byte) error {
	if resp.Version == 0 {
		resp.Version = version
	}
	return writeMessage(s, resp, body, func() error { return nil })
}

func wantKind(t *testing.T, what string, err error, want errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != want {
		t.Errorf("%s: got %v, of kind %s, want kind %s", what, err, errs.KindOf(err).Name(), want.Name())
	}
}

// A registry is a Registry in memory.
type registry struct {
	mu      sync.Mutex // guards the rest
	reports map[datamesh.SegmentID]store.Report
	deleted map[datamesh.SegmentID]*datamesh.Deletion
	fail    error // of each report
	spare   []datamesh.ShardKey
	pledged []datamesh.ShardKey
	proofs  map[datamesh.SegmentID][]store.Proof
}

func (r *registry) answer(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func newRegistry() *registry {
	return &registry{reports: map[datamesh.SegmentID]store.Report{}, deleted: map[datamesh.SegmentID]*datamesh.Deletion{}}
}

func (r *registry) drop(del *datamesh.Deletion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted[del.Descriptor.Segment] = del
	delete(r.reports, del.Descriptor.Segment)
}

func (r *registry) Report(_ context.Context, _ datamesh.PeerID, reports []store.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range reports {
		r.reports[x.Descriptor.Segment] = x
	}
	return r.fail
}

func (r *registry) Locate(_ context.Context, id datamesh.SegmentID) (*datamesh.Descriptor, []store.Holding, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.reports[id]
	if !ok {
		return nil, nil, errs.New(errs.FileNotFound, "locate %s: no holder was reported", id)
	}
	return x.Descriptor, x.Holdings, nil
}

func (r *registry) Compare(_ context.Context, from datamesh.PeerID, theirs Sums) ([]int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ours := theirs.Like()
	for id, x := range r.reports {
		for _, h := range x.Holdings {
			if h.Peer == from {
				ours.Add(datamesh.ShardKey{Segment: id, Index: h.Index})
			}
		}
	}
	return ours.Differ(theirs), nil
}

func (r *registry) Holds(_ context.Context, from datamesh.PeerID, in Range) (unknown []datamesh.SegmentID, deleted []*datamesh.Deletion, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, x := range r.reports {
		x.Holdings = slices.DeleteFunc(slices.Clone(x.Holdings), func(h store.Holding) bool {
			key := datamesh.ShardKey{Segment: id, Index: h.Index}
			return h.Peer == from && key.Compare(in.After) > 0 && key.Compare(in.Upto) <= 0
		})
		r.reports[id] = x
	}
	answered := map[datamesh.SegmentID]bool{}
	for _, k := range in.Keys {
		if x, ok := r.reports[k.Segment]; ok {
			x.Holdings = append(x.Holdings, store.Holding{Index: k.Index, Peer: from})
			r.reports[k.Segment] = x
			continue
		}
		if answered[k.Segment] {
			continue
		}
		answered[k.Segment] = true
		if del, ok := r.deleted[k.Segment]; ok {
			deleted = append(deleted, del)
		} else {
			unknown = append(unknown, k.Segment)
		}
	}
	return unknown, deleted, nil
}

func (r *registry) Words(_ context.Context, _ datamesh.PeerID, w Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	listed := map[datamesh.SegmentID]bool{}
	for _, x := range w.List {
		listed[x.Segment] = true
		switch del := r.deleted[x.Segment]; {
		case del == nil && x.Generation > 0 || del != nil && del.Generation < x.Generation:
			wanted = append(wanted, x.Segment)
		case del != nil && del.Generation > x.Generation:
			newer = append(newer, del)
		}
	}
	for segment, del := range r.deleted {
		if !listed[segment] && w.holds(segment) {
			newer = append(newer, del)
		}
	}
	return wanted, newer, nil
}

var errTest = errors.New("as the test says")

// pass lets time go by, in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

func (r *registry) Spare(_ datamesh.PeerID, key datamesh.ShardKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare = append(r.spare, key)
}

func (r *registry) Pledge(_ context.Context, _ datamesh.PeerID, key datamesh.ShardKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		r.pledged = append(r.pledged, key)
	}
	return r.fail
}

func (r *registry) Proofs(_ context.Context, segments []datamesh.SegmentID) (list []store.Proof, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, segment := range segments {
		list = append(list, r.proofs[segment]...)
	}
	return list, r.fail
}

func (*registry) Owned(context.Context, datamesh.PeerID, OwnedAsk, int) ([]*datamesh.Descriptor, datamesh.SegmentID, bool, error) {
	return nil, datamesh.SegmentID{}, false, errTest
}

func (*registry) PutRecord(context.Context, datamesh.PeerID, *datamesh.Record) error { return errTest }

func (*registry) Records(context.Context, datamesh.RecordKey) iter.Seq2[*datamesh.Record, error] {
	return func(yield func(*datamesh.Record, error) bool) { yield(nil, errTest) }
}

func (*registry) CompareRecords(context.Context, datamesh.PeerID, RecordList) ([]datamesh.RecordKey, iter.Seq2[*datamesh.Record, error], error) {
	return nil, nil, errTest
}

func (r *registry) Receipts(_ context.Context, segment datamesh.SegmentID) ([]*datamesh.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports[segment].Receipts, r.fail
}
