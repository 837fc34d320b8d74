package benchmark

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// alone opens a node whose home has no mesh: objects are in its own store.
func alone(t *testing.T) *node.Node {
	t.Helper()
	cfg := config.Default()
	cfg.Mesh.Listen = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	cfg.Store.Capacity = 1 << 30
	home := config.Home(t.TempDir())
	n, err := node.Open(t.Context(), node.Options{Home: home, Config: cfg, Role: node.Client, Port: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return n
}

func newBenchmark(t *testing.T, mesh Mesh, o Options) *Benchmark {
	t.Helper()
	b, err := New(t.Context(), mesh, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// empty checks that nothing is stored, listed, or in the list of deletions.
func empty(t *testing.T, n *node.Node) {
	t.Helper()
	ctx := t.Context()
	var left []string
	if err := n.List(ctx, node.ListOptions{}, func(o node.Object) error { left = append(left, o.Name); return nil }); err != nil || len(left) > 0 {
		t.Errorf("listed: %v, %v", left, err)
	}
	if gone, err := n.Deleted(ctx); err != nil || len(gone.Objects) > 0 {
		t.Errorf("in the list of deletions: %+v, %v", gone, err)
	}
	if s, err := n.Stats(ctx); err != nil || s.Store.Shards != 0 || s.Store.Trash != 0 {
		t.Errorf("the store has %+v, %v", s.Store, err)
	}
}

const large = 300<<10 + 1 // more than is kept in a manifest

func TestBenchmarkMeasuresAndLeavesNothing(t *testing.T) {
	n := alone(t)
	var begun []string
	var done atomic.Int64
	o := Options{Sizes: []int64{1, large}, Count: 21, InFlight: 4, Events: Events{
		Begin: func(what string, size int64, of int) { begun = append(begun, fmt.Sprint(what, " ", size, " ", of)) },
		Done:  func() { done.Add(1) }}}
	b := newBenchmark(t, n, o)
	plan, err := b.Plan(t.Context())
	if err != nil || plan.Objects != 42 || plan.Bytes != 21*(1+large) || plan.StoredBytes <= plan.Bytes || plan.Free <= 0 || plan.TooMuch() {
		t.Errorf("plan: got %+v, %v", plan, err)
	}
	r, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != plan.Bytes || r.StoredBytes <= r.Bytes || r.Swept != 0 || len(r.Left) != 0 || len(r.Warnings) == 0 || len(r.Sizes) != 2 {
		t.Errorf("got %+v", r)
	}
	for i, s := range r.Sizes {
		for what, m := range map[string]Measured{"put": s.Put, "get": s.Get} {
			l := m.Latency
			if s.Size != o.Sizes[i] || m.Operations != 21 || m.Failures != 0 || m.Wrong != 0 || m.Error != "" || m.Bytes != 21*s.Size || m.Seconds <= 0 ||
				m.BytesPerSecond <= 0 || m.OperationsPerSecond <= 0 || l.P50 == nil || *l.P50 <= 0 || l.P99 == nil || *l.P99 != *l.Max {
				t.Errorf("%s: got %+v", what, m)
			}
		}
		first, whole := s.Get.FirstByte, s.Get.Latency
		if s.Put.FirstByte != nil || first == nil || first.Max == nil || *first.Max <= 0 || *first.Max > *whole.Max {
			t.Errorf("first byte: got %+v of %+v, and %+v of puts", first, whole, s.Put.FirstByte)
		}
	}
	if want := []string{"delete 0 0", "put 1 21", "get 1 21", fmt.Sprint("put ", large, " 21"), fmt.Sprint("get ", large, " 21"), "delete 0 42"}; cmp.Diff(want, begun) != "" || done.Load() != 4*21+42 {
		t.Errorf("told of %q, and of %d that have ended", begun, done.Load())
	}
	empty(t, n)
}

// A tampered mesh is a node with a few operations that are others.
type tampered struct {
	*node.Node
	put    func(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error)
	writer func(io.Writer) io.Writer
	remove func(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error)
}

func (m *tampered) Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	if m.put != nil {
		return m.put(ctx, r, o)
	}
	return m.Node.Put(ctx, r, o)
}

func (m *tampered) Get(ctx context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	return m.Node.Get(ctx, ref, o, func(info node.ObjectInfo) (io.Writer, error) {
		w, err := open(info)
		if m.writer != nil {
			w = m.writer(w)
		}
		return w, err
	})
}

func (m *tampered) Delete(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
	if m.remove != nil {
		return m.remove(ctx, ref, o)
	}
	return m.Node.Delete(ctx, ref, o)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBenchmarkFindsOtherBytes(t *testing.T) {
	for _, c := range []struct {
		name   string
		writer func(io.Writer) io.Writer
	}{
		{"one bit", func(w io.Writer) io.Writer {
			at := 0
			return writerFunc(func(p []byte) (int, error) {
				p = append([]byte{}, p...)
				if at += len(p); at == large {
					p[len(p)-1] ^= 1
				}
				return w.Write(p)
			})
		}},
		{"one byte too few", func(w io.Writer) io.Writer {
			at := 0
			return writerFunc(func(p []byte) (int, error) {
				n := len(p)
				if at += n; at == large {
					p = p[:n-1]
				}
				_, err := w.Write(p)
				return n, err
			})
		}},
		{"one byte too many", func(w io.Writer) io.Writer {
			at := 0
			return writerFunc(func(p []byte) (int, error) {
				n := len(p)
				if at += n; at == large {
					p = append(append([]byte{}, p...), 0)
				}
				_, err := w.Write(p)
				return n, err
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := alone(t)
			r, err := newBenchmark(t, &tampered{Node: n, writer: c.writer}, Options{Sizes: []int64{large}, Count: 2}).Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			get := r.Sizes[0].Get
			failed, wrong, first := r.Failures()
			if get.Operations != 0 || get.Failures != 2 || get.Wrong != 2 || get.Latency.P50 != nil || failed != 2 || wrong != 2 || !errors.Is(first, errs.Integrity) {
				t.Errorf("got %+v, and %d, %d, %v", get, failed, wrong, first)
			}
			empty(t, n)
		})
	}
}

// TestBenchmarkKnowsObjectsApart has each get bring another object of the same size.
func TestBenchmarkKnowsObjectsApart(t *testing.T) {
	n := alone(t)
	m := &tampered{Node: n}
	var last *node.Stored
	m.put = func(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
		stored, err := n.Put(ctx, r, o)
		if err != nil {
			return nil, err
		}
		answer := *stored
		if last != nil {
			answer.ID = last.ID
		}
		last = stored
		return &answer, nil
	}
	r, err := newBenchmark(t, m, Options{Sizes: []int64{64}, Count: 3}).Run(t.Context())
	if err != nil || r.Sizes[0].Get.Wrong != 2 || r.Sizes[0].Get.Operations != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	empty(t, n)
}

func TestBenchmarkCountsWhatFails(t *testing.T) {
	n := alone(t)
	m := &tampered{Node: n}
	calls := 0
	m.put = func(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
		if calls++; calls%2 == 0 {
			return nil, errs.New(errs.Unavailable, "too few")
		}
		return n.Put(ctx, r, o)
	}
	r, err := newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 5}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Sizes[0]; s.Put.Operations != 3 || s.Put.Failures != 2 || !strings.Contains(s.Put.Error, "too few") || s.Put.Bytes != 24 || s.Get.Operations != 3 {
		t.Errorf("got %+v", s)
	}
	empty(t, n)

	m.put = func(context.Context, io.Reader, node.PutOptions) (*node.Stored, error) {
		calls++
		return nil, errs.New(errs.Unavailable, "too few")
	}
	calls = 0
	r, err = newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 1000}).Run(t.Context())
	if err != nil || calls != maxFailures || r.Sizes[0].Put.Failures != maxFailures {
		t.Errorf("%d calls, want %d: %+v, %v", calls, maxFailures, r, err)
	}
	m.put = func(context.Context, io.Reader, node.PutOptions) (*node.Stored, error) {
		calls++
		return nil, errs.New(errs.Full, "no room")
	}
	calls = 0
	if _, err = newBenchmark(t, m, Options{Sizes: []int64{8, 9}, Count: 1000}).Run(t.Context()); !errors.Is(err, errs.Full) || calls != 1 {
		t.Errorf("no room: %d calls, %v", calls, err)
	}
}

func TestInterruptedBenchmarkLeavesNothing(t *testing.T) {
	for _, during := range []string{"put", "get"} {
		t.Run(during, func(t *testing.T) {
			n := alone(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m := &tampered{Node: n}
			puts := 0
			m.put = func(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
				if puts++; puts == 3 && during == "put" {
					stored, err := n.Put(ctx, r, o) // what was stored, and nobody has heard of
					cancel()
					if err != nil {
						t.Errorf("it should be stored: %+v, %v", stored, err)
					}
					return nil, ctx.Err()
				}
				return n.Put(ctx, r, o)
			}
			if during == "get" {
				m.writer = func(w io.Writer) io.Writer { cancel(); return w }
			}
			r, err := newBenchmark(t, m, Options{Sizes: []int64{large, 5}, Count: 10}).Run(ctx)
			if !errors.Is(err, context.Canceled) || len(r.Left) > 0 || len(r.Sizes) != 1 {
				t.Errorf("got %+v, %v", r, err)
			}
			if want := map[string]int{"put": 3, "get": 10}[during]; puts != want {
				t.Errorf("%d puts, want %d", puts, want)
			}
			empty(t, n)
		})
	}
}

func TestBenchmarkTellsWhatItCannotDeleteAndTheNextOneDoes(t *testing.T) {
	n := alone(t)
	m := &tampered{Node: n}
	var tried atomic.Int64
	m.remove = func(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
		if tried.Add(1) > 2 {
			return nil, errs.New(errs.Unavailable, "too few")
		}
		return n.Delete(ctx, ref, o)
	}
	r, err := newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 40}).Run(t.Context())
	if err != nil || len(r.Left) != 38 || !strings.HasPrefix(r.Left[0], Prefix) {
		t.Fatalf("got %+v, %v", r, err)
	}
	// Those that go on at once may fail before one of the first two has succeeded.
	if n := tried.Load(); n < 2+inVain || n > 2+inVain+together+inVain+together {
		t.Errorf("%d deletions were tried", n)
	}
	own := newBenchmark(t, n, Options{Sizes: []int64{8}}).home + "my own file" // of another type
	if _, err := n.Put(t.Context(), strings.NewReader("content"), node.PutOptions{Name: own}); err != nil {
		t.Fatal(err)
	}
	foreign := Prefix + "another home/x"
	if _, err := n.Put(t.Context(), strings.NewReader("content"), node.PutOptions{Name: foreign, Type: MediaType}); err != nil {
		t.Fatal(err)
	}
	m.remove = nil
	r, err = newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 1}).Run(t.Context())
	if err != nil || r.Swept != 38 || len(r.Left) != 0 {
		t.Errorf("the next one: got %+v, %v", r, err)
	}
	var names []string
	if err := n.List(t.Context(), node.ListOptions{Sort: "name"}, func(o node.Object) error { names = append(names, o.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values([]string{foreign, own})), names); diff != "" {
		t.Errorf("what is not its own (-want +got):\n%s", diff)
	}

	b := newBenchmark(t, n, Options{Sizes: []int64{8}})
	if young, old := b.mine(foreign, time.Now()), b.mine(foreign, time.Now().Add(-abandoned-time.Minute)); young || !old {
		t.Errorf("what another home has left behind: it deletes %t of what is young, %t of what is old", young, old)
	}
}

func TestDeletionThatWasInterruptedGoesOn(t *testing.T) {
	n := alone(t)
	m := &tampered{Node: n}
	m.remove = func(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
		if o.Forget {
			return nil, errs.New(errs.Unavailable, "too few")
		}
		return n.Delete(ctx, ref, o)
	}
	if r, err := newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 1}).Run(t.Context()); err != nil || len(r.Left) != 0 {
		t.Fatalf("what is deleted and listed as that is not left: got %+v, %v", r, err)
	}
	if gone, err := n.Deleted(t.Context()); err != nil || len(gone.Objects) != 1 {
		t.Fatalf("got %+v, %v", gone, err)
	}
	m.remove = nil
	if _, err := newBenchmark(t, m, Options{Sizes: []int64{8}, Count: 1}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	empty(t, n)
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{
		{0, `{"p50_ms":null,"p95_ms":null,"p99_ms":null,"max_ms":null}`},
		{1, `{"p50_ms":1,"p95_ms":null,"p99_ms":null,"max_ms":1}`},
		{2, `{"p50_ms":1,"p95_ms":null,"p99_ms":null,"max_ms":2}`},
		{19, `{"p50_ms":10,"p95_ms":null,"p99_ms":null,"max_ms":19}`},
		{20, `{"p50_ms":10,"p95_ms":19,"p99_ms":20,"max_ms":20}`},
		{21, `{"p50_ms":11,"p95_ms":20,"p99_ms":21,"max_ms":21}`},
		{100, `{"p50_ms":50,"p95_ms":95,"p99_ms":99,"max_ms":100}`},
		{101, `{"p50_ms":51,"p95_ms":96,"p99_ms":100,"max_ms":101}`},
		{1000, `{"p50_ms":500,"p95_ms":950,"p99_ms":990,"max_ms":1000}`},
	} {
		samples := make([]time.Duration, c.n) // 1 ms, 2 ms, … in another order
		for i := range samples {
			samples[i] = time.Duration(c.n-i) * time.Millisecond
		}
		got, err := json.Marshal(latencyOf(samples))
		if err != nil || string(got) != c.want {
			t.Errorf("of %d: got %s, %v, want %s", c.n, got, err, c.want)
		}
	}
}

func TestBenchmarkChecksWhatIsAsked(t *testing.T) {
	n := alone(t)
	for _, o := range []Options{{}, {Sizes: []int64{0}}, {Sizes: []int64{-1}}, {Sizes: []int64{1, 2, 1}}, {Sizes: []int64{1}, Count: MaxCount + 1}, {Sizes: []int64{1}, Count: -1},
		{Sizes: []int64{1}, InFlight: MaxInFlight + 1}, {Sizes: make([]int64, MaxSizes+1)}} {
		if _, err := New(t.Context(), n, o); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: got %v", o, err)
		}
	}
	for size, want := range map[int64]int{1: 100, 1 << 20: 100, 4 << 20: 64, 64 << 20: 4, 1 << 40: 4} {
		if got := (&Options{}).count(size); got != want {
			t.Errorf("of %d bytes: %d objects, want %d", size, got, want)
		}
	}
	for _, sizes := range [][]int64{{1 << 30}, {1 << 61}, {most - 1, most}} {
		p, err := newBenchmark(t, n, Options{Sizes: sizes}).Plan(t.Context())
		if err != nil || !p.TooMuch() || p.StoredBytes < p.Bytes {
			t.Errorf("%v: got %+v, %v, want too much", sizes, p, err)
		}
	}
}

func TestOneBenchmarkAtATime(t *testing.T) {
	path := t.TempDir() + "/lock"
	release, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, errs.Locked) {
		t.Errorf("a second one: %v", err)
	}
	release()
	if release, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	release()
}
