package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
)

// records returns how many records the mesh has of the home's user.
func (r *running) records() int {
	r.t.Helper()
	keys, err := r.keys()
	if err != nil {
		r.t.Fatal(err)
	}
	l, _ := r.objects()
	var found object.Found
	r.insist(func() (err error) {
		found, err = l.objects.Records(r.t.Context(), keys.OwnerKey())
		return err
	})
	return len(found.Records)
}

// listOf returns all that the catalog of a home lists.
func listOf(t *testing.T, n *Node) (*List, error) {
	t.Helper()
	list := &List{Objects: []Object{}}
	return list, n.List(t.Context(), ListOptions{}, func(o Object) error {
		list.Objects = append(list.Objects, o)
		return nil
	})
}

// names returns how many objects the catalog of the home has.
func (r *running) names() int {
	r.t.Helper()
	list, err := listOf(r.t, r.Node)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list.Objects)
}

// news learns what other devices have said, and returns how much was new.
func (r *running) news() (changed int) {
	r.t.Helper()
	l, _ := r.objects()
	r.insist(func() error {
		learned, err := r.learnNames(r.t.Context(), l, must(r.t, r.keys))
		changed += learned.Changed
		return err
	})
	return changed
}

// Of what was stored one by one, in two homes, the mesh has few records, and all of
// it comes back in a home that has the identity alone.
func TestManyNamesAreKeptInFewObjects(t *testing.T) {
	first := bootstrap(t, home(t))
	h, other := home(t), home(t)
	user := open(t, through(t, h, Client, first))
	user.put(noise(1, 100), PutOptions{Name: "first"})
	carry(t, h, other)
	second := open(t, through(t, other, Client, first))
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 40 {
				n := user
				if i == 3 && j < 10 {
					n = second
				}
				n.put(noise(byte(j), 100), PutOptions{Name: fmt.Sprint(i, " ", j)})
			}
		})
	}
	group.Wait()
	if !soon(func() bool { return user.records() <= 128+10+2 }) { // runs are made while the user goes on
		t.Errorf("the mesh has %d records", user.records())
	}
	for i := 0; user.records() > 60; i++ { // what others have sent along makes it fewer
		user.put(noise(byte(i), 100), PutOptions{Name: fmt.Sprint("more ", i)})
		if i > 128 {
			t.Fatalf("the mesh has %d records", user.records())
		}
	}
	all := user.names() + 10
	anew := home(t)
	carry(t, h, anew)
	third := open(t, through(t, anew, Client, first))
	if third.news() == 0 || third.names() != all {
		t.Errorf("%d names come back, want %d", third.names(), all)
	}
	if third.news() != 0 {
		t.Error("there is something new")
	}
	if user.news() == 0 || user.names() != all {
		t.Errorf("the other home has %d names, want %d", user.names(), all)
	}
	runs := 0
	l, _ := user.objects()
	found, err := l.objects.Records(t.Context(), must(t, user.keys).OwnerKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found.Records {
		if r.Base > 0 {
			runs++
		}
	}
	if runs == 0 {
		t.Error("no record stands for others")
	}
}

func must[T any](t *testing.T, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What a service could not send it sends later, and an identity is made by
// nobody who only stores.
func TestNamesThatCouldNotBeSentAreSentLater(t *testing.T) {
	first := bootstrap(t, home(t))
	if err := first.keepNamesOnce(t.Context(), must(t, func() (*link, error) { return first.connect(t.Context()) }), true); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(first.home.Default().Identity()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a node that only stores has an identity: %v", err)
	}
	h := home(t)
	user := open(t, through(t, h, Client, first))
	user.put(noise(1, 100), PutOptions{Name: "sent"})
	if err := user.catalog.Add(t.Context(), entryOf(1, "not sent")); err != nil {
		t.Fatal(err)
	}
	if n := user.records(); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	if err := user.keepNamesOnce(t.Context(), must(t, func() (*link, error) { return user.connect(t.Context()) }), false); err != nil {
		t.Error(err)
	}
	if n := user.records(); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

// Puts at once share what they send: each ends when another home of the user can
// know its name, and not before.
func TestNamesAreInTheMeshWhenTheirPutsEnd(t *testing.T) {
	first := bootstrap(t, home(t))
	h, other := home(t), home(t)
	user := open(t, through(t, h, Client, first))
	user.put(noise(1, 100), PutOptions{Name: "first"})
	carry(t, h, other)
	second := open(t, through(t, other, Client, first))
	var learning sync.Mutex
	knows := func(name string) bool {
		learning.Lock()
		defer learning.Unlock()
		second.news()
		list, err := listOf(t, second.Node)
		return err == nil && slices.ContainsFunc(list.Objects, func(o Object) bool { return o.Name == name })
	}
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			for j := range 6 {
				name := fmt.Sprint(i, " ", j)
				user.put(noise(byte(j), 100), PutOptions{Name: name})
				if !knows(name) {
					t.Errorf("the put of %q has ended, and the mesh does not know the name", name)
				}
			}
		})
	}
	group.Wait()
}

// A put is not over when an older record has been sent that was not before: only
// when its own was.
func TestOlderNamesAreNotTakenForOnesOwn(t *testing.T) {
	first := bootstrap(t, home(t))
	user := open(t, through(t, home(t), Client, first))
	user.put(noise(1, 100), PutOptions{Name: "first"})
	l, _ := user.objects()
	for i := range 3 {
		if err := user.catalog.Add(t.Context(), entryOf(byte(i), fmt.Sprint("older ", i))); err != nil {
			t.Fatal(err)
		}
		if _, err := user.catalog.Unsent(t.Context(), user.sealer(l)); err != nil {
			t.Fatal(err)
		}
		before := user.records()
		user.put(noise(2, 100), PutOptions{Name: fmt.Sprint("own ", i)})
		if n := user.records(); n != before+2 {
			t.Errorf("%d records more, want 2", n-before)
		}
	}
}

// Who waits for others to send gives up when its context ends, and whoever comes
// next sends.
func TestWhoWaitsToSendMayGiveUp(t *testing.T) {
	first := bootstrap(t, home(t))
	user := open(t, through(t, home(t), Client, first))
	user.put(noise(1, 100), PutOptions{Name: "first"})
	if err := user.catalog.Add(t.Context(), entryOf(1, "second")); err != nil {
		t.Fatal(err)
	}
	l, _ := user.objects()
	user.publishing.turn <- struct{}{} // somebody sends
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sent, err := user.send(ctx, l); sent || !errors.Is(err, context.Canceled) {
		t.Errorf("sent %t, %v", sent, err)
	}
	<-user.publishing.turn
	if sent, err := user.send(t.Context(), l); !sent || err != nil {
		t.Errorf("sent %t, %v", sent, err)
	}
	if n := user.records(); n != 2 {
		t.Errorf("the mesh has %d records, want 2", n)
	}
}

// entryOf is one of a catalog.
func entryOf(n byte, name string) catalog.Entry {
	return catalog.Entry{ID: datamesh.ObjectID{n}, Name: name, Created: time.Unix(int64(n), 0)}
}

// Words of which the mesh knows nothing make no identity, and nothing replaces one
// that is there.
func TestRecoverMakesNoIdentityOfWrongWords(t *testing.T) {
	first := bootstrap(t, home(t))
	h := home(t)
	user := open(t, through(t, h, Client, first))
	user.put(noise(1, 100), PutOptions{Name: "mine"})
	anew := home(t)
	n := open(t, through(t, anew, Client, first))
	_, err := n.Recover(t.Context(), keyring.Root{9})
	wantKind(t, "wrong words", err, errs.KeyManagement)
	if _, err := os.Lstat(anew.Default().Identity()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is an identity: %v", err)
	}
	phrase, err := keyring.At(h.Default().Identity()).Words()
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, word := range phrase {
		text += word + " "
	}
	root, err := keyring.ParsePhrase(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Recover(t.Context(), root)
	if err != nil || got.Objects != 1 || got.Devices != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	_, err = n.Recover(t.Context(), keyring.Root{9})
	wantKind(t, "another identity", err, errs.Exists)
	alone := open(t, options(home(t), Client))
	_, err = alone.Recover(t.Context(), root)
	wantKind(t, "without a mesh", err, errs.Unavailable)
}
