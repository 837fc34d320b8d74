//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/node"
)

// A namer is a home that does at random what a user does with names.
type namer struct {
	*user
	random   *rand.Rand
	contents map[datamesh.ObjectID][]byte // of what it has put
	did      map[string]int               // what succeeded
}

func (x *namer) name() string { return fmt.Sprint("name ", x.random.IntN(100)) }

// step does one thing at random. While the home is cut off puts and deletions fail.
func (x *namer) step(t *testing.T, cut bool) {
	t.Helper()
	list := result[node.List](t, x.run(t, "list"))
	known := x.name()
	if len(list.Objects) > 0 {
		known = list.Objects[x.random.IntN(len(list.Objects))].Name
	}
	var args []string
	what := x.random.IntN(12)
	if cut || len(list.Objects) < 5 {
		what = map[bool]int{true: 4 + x.random.IntN(6), false: 0}[cut]
	}
	switch what {
	case 0, 1, 2:
		content := noisy(byte(x.random.IntN(256)), int64(1+x.random.IntN(200_000)))
		x.contents[x.put(t, content, "--name", x.name()).ID] = content
		x.did["put"]++
		return
	case 3:
		deleted := result[node.DeletedObjects](t, x.run(t, "list", "--deleted")).Objects
		if len(deleted) == 0 {
			return
		}
		args = []string{"undelete", deleted[x.random.IntN(len(deleted))].ID.String()}
	case 4:
		args = []string{"rename", known, x.name()}
	case 5:
		args = []string{"rename", known, x.name(), "--force"}
	case 6, 7:
		args = []string{"tag", known, "--add", fmt.Sprint("tag", x.random.IntN(5)), "--remove", fmt.Sprint("tag", x.random.IntN(5))}
	case 8:
		args = []string{"copy", known, x.name()}
	case 9:
		args = []string{[]string{"pin", "unpin", "unpin"}[x.random.IntN(3)], known}
	default:
		args = []string{"rm", known}
	}
	o := x.run(t, args...)
	switch o.code {
	case 0:
		x.did[args[0]]++
		if cut {
			x.did["cut off"]++
		}
	case 1, 2, 4: // taken, pinned, deleted or renamed by the other home, the same name
	default:
		t.Errorf("%v: exit status %d: %s", args, o.code, o.stderr)
	}
}

// Two homes of one owner do at random what can be done with names, at once, and one
// of them is cut off now and then. In the end both list the same, and all that is
// listed can be read.
func TestTwoHomesAgreeOnNames(t *testing.T) {
	onlyInFull(t, "what two homes do with names at once")
	t.Parallel()
	rounds, steps, seed := 6, 5, uint64(1)
	if os.Getenv("TEST_DATAMESH_NIGHTLY") == "1" {
		rounds, steps, seed = 40, 12, rand.Uint64()
	}
	t.Logf("the seed is %d", seed)
	nowhere := newNamespace(t, "what two homes do without each other")
	m := newMesh(t, 6)
	first := m.user(t)
	homes := []*namer{}
	for i, u := range []*user{first, first.elsewhere(t)} {
		homes = append(homes, &namer{u, rand.New(rand.NewPCG(seed, uint64(i))), map[datamesh.ObjectID][]byte{}, map[string]int{}})
	}
	for round := range rounds {
		var both sync.WaitGroup
		for i, x := range homes {
			cut, n := round%4 == 1+2*i, steps
			if x.wrap = nil; cut {
				x.wrap = []string{"ip", "netns", "exec", nowhere}
				n = 2 // each takes the time in which a mesh is looked for
			}
			both.Go(func() {
				for range n {
					x.step(t, cut)
				}
			})
		}
		both.Wait()
	}
	contents := map[datamesh.ObjectID][]byte{}
	for i, x := range homes {
		x.wrap = nil
		x.contents[x.put(t, []byte{byte(i)}, "--name", fmt.Sprint("last ", i)).ID] = []byte{byte(i)}
		for id, content := range x.contents {
			contents[id] = content
		}
	}
	var lists []node.List
	var deleted []node.DeletedObjects
	for range 2 { // what one has to settle the other hears of then
		lists, deleted = nil, nil
		for _, x := range homes {
			problem(t, x.run(t, "versions", "none"), 4) // it asks what others have said
			result[any](t, x.run(t, "tag", "last 0", "--add", "end"))
			lists = append(lists, result[node.List](t, x.run(t, "list", "--sort", "name")))
			deleted = append(deleted, result[node.DeletedObjects](t, x.run(t, "list", "--deleted")))
		}
	}
	for _, what := range []string{"put", "rename", "tag", "copy", "rm", "cut off"} {
		if homes[0].did[what]+homes[1].did[what] == 0 {
			t.Errorf("nothing was done by %s: %v, %v", what, homes[0].did, homes[1].did)
		}
	}
	t.Logf("%v, %v: %d names are listed, %d objects deleted", homes[0].did, homes[1].did, len(lists[0].Objects), len(deleted[0].Objects))
	if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
		t.Errorf("list (-one +other):\n%s", diff)
	}
	if diff := cmp.Diff(deleted[0], deleted[1]); diff != "" {
		t.Errorf("list --deleted (-one +other):\n%s", diff)
	}
	var read []datamesh.ObjectID
	for i, o := range lists[0].Objects {
		if slices.Contains(read, o.ID) {
			continue
		}
		read = append(read, o.ID)
		x := homes[i%2]
		if got := x.run(t, "get", o.ID.String(), "-"); got.code != 0 || !bytes.Equal(got.stdout, contents[o.ID]) {
			t.Errorf("get %s, %s: exit status %d, %d bytes, want %d: %s", o.Name, o.ID, got.code, len(got.stdout), len(contents[o.ID]), got.stderr)
		}
	}
}

// What one home says of an object while another, of which it does not hear, deletes
// it, is what holds: the mesh brings the object back. One that is gone for good
// stays gone.
func TestWhatIsTaggedWhileAnotherDeletesItIsKept(t *testing.T) {
	onlyInFull(t, "what is tagged while another home deletes it")
	t.Parallel()
	nowhere := newNamespace(t, "what two homes do without each other")
	m := newMesh(t, 5)
	one := m.user(t)
	other := one.elsewhere(t)
	content := noisy(1, 300_000)
	kept, gone := one.put(t, content, "--name", "kept"), one.put(t, content, "--name", "gone")
	problem(t, other.run(t, "versions", "none"), 4) // it asks what others have said
	result[node.Removed](t, one.run(t, "rm", "kept"))
	result[node.Removed](t, one.run(t, "rm", "gone", "--now"))
	other.wrap = []string{"ip", "netns", "exec", nowhere}
	for _, name := range []string{"kept", "gone"} {
		if r := result[node.Tagged](t, other.run(t, "tag", name, "--add", "mine")); r.Changed != 1 || len(r.Warnings) != 1 {
			t.Errorf("tag, cut off: got %+v", r)
		}
	}
	other.wrap = nil
	other.put(t, []byte("x"), "--name", "x")
	for range 2 {
		for _, x := range []*user{one, other} {
			result[node.Tagged](t, x.run(t, "tag", "x", "--add", x.home))
		}
	}
	for _, x := range []*user{one, other} {
		list := result[node.List](t, x.run(t, "list", "--sort", "name"))
		if len(list.Objects) != 2 || list.Objects[0].ID != kept.ID || !slices.Equal(list.Objects[0].Tags, []string{"mine"}) {
			t.Errorf("got %+v", list)
		}
		x.reads(t, kept.ID, content)
		problem(t, x.run(t, "get", gone.ID.String(), "-"), 1)
	}
}
