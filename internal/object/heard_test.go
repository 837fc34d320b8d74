package object

import (
	"io"
	"sync/atomic"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/step"
	"datamesh/internal/storetest"
)

// When all who have a word are silent nobody takes the silence of the many others
// for that there is none.
func TestWordsAreNotAskedOfTheWrongMajority(t *testing.T) {
	w := newWorld(t, 40)
	u := newUser(t, w)
	id := u.put(noise(1, 300_000), options).ID
	if err := u.delete(id, false); err != nil {
		t.Fatal(err)
	}
	if gone, err := u.Gone(t.Context(), []datamesh.ObjectID{id}); err != nil || len(gone) != 1 {
		t.Fatalf("gone: %v, %v", gone, err)
	}
	silent := 0
	for _, m := range w.members {
		if d, err := m.store.Deletion(t.Context(), [32]byte(id)); err == nil && d != nil {
			m.set(storetest.Fail)
			silent++
		}
	}
	if silent > 12 {
		t.Fatalf("%d of 40 have the word", silent)
	}
	if gone, err := u.Gone(t.Context(), []datamesh.ObjectID{id}); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("gone: %v, %v, want kind Unavailable", gone, err)
	}
	if _, err := u.Word(t.Context(), id); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("word: %v, want kind Unavailable", err)
	}
}

// Of two devices that bring one object back at once the one that cannot does not
// delete it again.
func TestWhoCannotReturnAnObjectLeavesItToOthers(t *testing.T) {
	w := newWorld(t, 9)
	one, two := newUser(t, w), newUser(t, w)
	content := noise(1, 300_000)
	id := one.put(content, options).ID
	if err := one.delete(id, false); err != nil {
		t.Fatal(err)
	}
	var begun atomic.Bool
	step.Reached = func(name string) {
		if name != "object: undelete: segments are brought back" || !begun.CompareAndSwap(false, true) {
			return
		}
		if _, err := one.Return(t.Context(), id); err != nil {
			t.Errorf("one: %v", err)
		}
		for _, m := range w.members[:6] {
			m.do(func(x storetest.Method, _ datamesh.ShardKey) storetest.Fault {
				if x == storetest.Has {
					return storetest.Fail
				}
				return storetest.None
			})
		}
	}
	defer func() { step.Reached = nil }()
	if _, err := two.Return(t.Context(), id); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("two: %v, want kind Unavailable", err)
	}
	for _, m := range w.members {
		m.set(storetest.None)
	}
	if _, err := one.Get(t.Context(), id, func(*format.Manifest) (io.Writer, int64, error) { return io.Discard, 0, nil }); err != nil {
		t.Errorf("get: %v", err)
	}
}
