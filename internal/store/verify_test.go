package store

import (
	"context"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func TestVerifyCatchesAFaultyStore(t *testing.T) {
	s, other := storetest.Segment(t, 1, 2, 1, 2*large), storetest.Segment(t, 2, 2, 1, 2*large)
	memory := NewMemory(capacity)
	fault := storetest.None
	faulty := &storetest.Faulty{ShardStore: memory, Plan: func(storetest.Method, datamesh.ShardKey) storetest.Fault { return fault }}
	v := Verify(faulty)
	s.Put(t, v, 0)
	s.Check(t, v, 0)

	want := func(call string, err error, kind errs.Kind) {
		t.Helper()
		if !errors.Is(err, kind) {
			t.Errorf("fault %d: %s: got %v, want kind %s", fault, call, err, kind.Name())
		}
	}
	for _, fault = range []storetest.Fault{storetest.Corrupt, storetest.Short} {
		want("put", v.Put(t.Context(), s.Descriptor, 1, s.Bytes[1]), errs.Integrity)
		_, _, err := v.Get(t.Context(), s.Key(0), nil)
		want("get", err, errs.Integrity)
		_, _, err = v.GetRange(t.Context(), s.Key(0), 5, 50_000)
		want("range", err, errs.Integrity)
	}
	for _, fault = range []storetest.Fault{storetest.Fail, storetest.Stall} {
		ctx, cancel := context.WithCancel(t.Context())
		if fault == storetest.Stall {
			cancel()
		}
		want("put", v.Put(ctx, s.Descriptor, 1, s.Bytes[1]), errs.Unavailable)
		_, _, err := v.Get(ctx, s.Key(0), nil)
		want("get", err, errs.Unavailable)
		_, _, err = v.GetRange(ctx, s.Key(0), 5, 50_000)
		want("range", err, errs.Unavailable)
		_, err = v.Has(ctx, s.Keys())
		want("has", err, errs.Unavailable)
		_, err = v.List(ctx, datamesh.First, 10)
		want("list", err, errs.Unavailable)
		want("drop", v.Drop(ctx, s.Deletion(1)), errs.Unavailable)
		cancel()
	}
	fault = storetest.None
	s.Check(t, v, 0)

	other.Put(t, memory, 0)
	_, _, err := Verify(mistaken{memory, other.Key(0)}).Get(t.Context(), s.Key(0), nil)
	want("get of another segment", err, errs.Integrity)
	_, _, err = Verify(mistaken{memory, other.Key(0)}).GetRange(t.Context(), s.Key(0), 0, 1)
	want("range of another segment", err, errs.Integrity)
}

// mistaken answers every get with one and the same shard.
type mistaken struct {
	datamesh.ShardStore
	key datamesh.ShardKey
}

func (m mistaken) Get(ctx context.Context, _ datamesh.ShardKey, buf []byte) (*datamesh.Descriptor, []byte, error) {
	return m.ShardStore.Get(ctx, m.key, buf)
}

func (m mistaken) GetRange(ctx context.Context, _ datamesh.ShardKey, off, n int) (*datamesh.Descriptor, []byte, error) {
	return m.ShardStore.GetRange(ctx, m.key, off, n)
}

func TestMemoryIsFullAtItsCapacity(t *testing.T) {
	s := storetest.Segment(t, 1, 1, 2, 1000)
	m := NewMemory(2000)
	s.Put(t, m, 0)
	s.Put(t, m, 1)
	if err := m.Put(t.Context(), s.Descriptor, 2, s.Bytes[2]); !errors.Is(err, errs.Full) {
		t.Errorf("put: got %v, want kind Full", err)
	}
	s.Put(t, m, 0)
	if err := m.Drop(t.Context(), s.Deletion(datamesh.Final)); err != nil {
		t.Fatal(err)
	}
	o := storetest.Segment(t, 2, 1, 0, 2000)
	o.Put(t, m, 0)
	o.Check(t, m, 0)
}
