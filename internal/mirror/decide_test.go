package mirror

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/tree"
)

// stateOf reads a state: "" is none, "f1" a file that was modified at 1, "l2" a
// symbolic link and "d3" a directory.
func stateOf(text string) *State {
	if text == "" {
		return nil
	}
	n := int64(text[1] - '0')
	s := &State{Mode: 0o644, ModTime: time.Unix(n, 0).UTC()}
	switch text[0] {
	case 'd':
		s.Type = tree.Directory
	case 'l':
		s.Type, s.Size, s.Target = tree.Symlink, 1, fmt.Sprint(n)
	default:
		s.Size = n
	}
	s.ID = datamesh.ObjectID{text[0], text[1]}
	return s
}

func lastOf(text string) *Last {
	if text == "" {
		return nil
	}
	s := stateOf(text)
	return &Last{Local: *s, Mesh: *s}
}

var opNames = []string{"keep", "remember", "forget", "put", "write", "put and write", "delete in the mesh", "delete here", "make both"}

func (a Action) String() string {
	if a.Conflict {
		return opNames[a.Op] + ", of two"
	}
	return opNames[a.Op]
}

// Each line has what both sides had when they were the same, what is here, what
// is in the mesh, and what is done.
func TestDecide(t *testing.T) {
	for _, c := range []struct{ last, local, mesh, want string }{
		// Nothing was ever the same.
		{"", "", "", "keep"},
		{"", "f1", "", "put"},
		{"", "", "f1", "write"},
		{"", "f1", "f1", "remember"},
		{"", "f2", "f1", "put, of two"},
		{"", "f1", "f2", "put and write, of two"},
		{"", "l1", "l1", "remember"},
		{"", "l1", "l2", "put and write, of two"},
		{"", "l2", "f1", "put, of two"},
		{"", "f1", "d2", "put and write, of two"},
		{"", "d1", "f2", "write"},
		{"", "d2", "f1", "put, of two"},
		{"", "d1", "d1", "remember"},
		{"", "d2", "d1", "write"},
		{"", "d1", "d2", "write"},
		// One side has changed.
		{"f1", "f1", "f1", "remember"},
		{"f1", "f2", "f1", "put"},
		{"f1", "f1", "f2", "write"},
		{"f2", "f1", "f2", "put"},
		{"f2", "f2", "f1", "write"},
		{"f1", "l1", "f1", "put"},
		{"f1", "f1", "d1", "write"},
		{"d1", "d2", "d1", "put"},
		{"d1", "d1", "d2", "write"},
		// One was deleted.
		{"f1", "", "f1", "delete in the mesh"},
		{"f1", "f1", "", "delete here"},
		{"f1", "", "", "forget"},
		{"f1", "", "f2", "write"},
		{"f1", "f2", "", "put"},
		{"d1", "", "d1", "delete in the mesh"},
		{"d1", "d1", "", "delete here"},
		{"l1", "l1", "", "delete here"},
		// Both have changed.
		{"f1", "f2", "f2", "remember"},
		{"f1", "f3", "f2", "put, of two"},
		{"f1", "f2", "f3", "put and write, of two"},
		{"f3", "f2", "f1", "put, of two"},
		{"f1", "l2", "f3", "put and write, of two"},
		{"f1", "d2", "f3", "write"},
		{"f1", "d3", "f2", "put, of two"},
		{"d1", "d3", "d2", "put"},
		{"d1", "d2", "d3", "write"},
	} {
		if got := Decide(lastOf(c.last), stateOf(c.local), stateOf(c.mesh), true).String(); got != c.want {
			t.Errorf("last %q, here %q, mesh %q: got %s, want %s", c.last, c.local, c.mesh, got, c.want)
		}
	}
}

// What is only not in the list of the mesh is put anew, and never removed.
func TestWhatIsNotKnownToBeDeletedStays(t *testing.T) {
	for _, last := range []string{"f1", "l1", "d1", ""} {
		for _, local := range []string{"f1", "f2", "l1", "d1"} {
			if got := Decide(lastOf(last), stateOf(local), nil, false); got.Op != Put {
				t.Errorf("last %q, here %q: got %v", last, local, got)
			}
		}
	}
}

func TestDecideOneWay(t *testing.T) {
	for _, c := range []struct{ local, mesh, want string }{
		{"", "", "keep"}, {"f1", "", "put"}, {"", "f1", "delete in the mesh"}, {"f1", "f1", "remember"}, {"f1", "f2", "put"}, {"d1", "f2", "put"}, {"f1", "l1", "put"},
	} {
		if got := DecideOneWay(stateOf(c.local), stateOf(c.mesh)).String(); got != c.want {
			t.Errorf("here %q, mesh %q: got %s, want %s", c.local, c.mesh, got, c.want)
		}
	}
}

// What has another id alone, as after a rotation of keys, has not changed.
func TestAnotherIDIsNoChange(t *testing.T) {
	mesh := stateOf("f1")
	mesh.ID = datamesh.ObjectID{9}
	if got := Decide(lastOf("f1"), nil, mesh, false); got.Op != DeleteMesh {
		t.Errorf("got %v", got)
	}
	local := stateOf("f2")
	if got := Decide(lastOf("f1"), local, mesh, false); got.Op != Put || got.Conflict {
		t.Errorf("got %v", got)
	}
}

// A file without a time, as of a put from standard input, has changed with its id:
// its size tells too little.
func TestAnotherIDIsAChangeOfWhatHasNoTime(t *testing.T) {
	last, mesh := lastOf("f1"), stateOf("f1")
	last.Mesh.ModTime, mesh.ModTime = time.Time{}, time.Time{}
	if got := Decide(last, stateOf("f1"), mesh, false); got.Op != Keep {
		t.Errorf("as it was: got %v", got)
	}
	mesh.ID = datamesh.ObjectID{9}
	if got := Decide(last, stateOf("f1"), mesh, false); got.Op != Write {
		t.Errorf("of another id: got %v", got)
	}
}

// A link that was written here has a time of its own, and is what it was.
func TestLinksAreKnownByWhereTheyLead(t *testing.T) {
	local := stateOf("l1")
	local.ModTime = time.Unix(99, 0)
	if got := Decide(lastOf("l1"), local, stateOf("l1"), false); got.Op != Remember {
		t.Errorf("got %v", got)
	}
	mesh := stateOf("l1")
	mesh.Target = "" // it was not read
	if got := Decide(lastOf("l1"), local, mesh, false); got.Op != Keep {
		t.Errorf("got %v", got)
	}
}

// Each case has paths with their three states, and what is done with those of
// which it is not what they come to alone.
func TestPlanKeepsDirectoriesThatHoldSomething(t *testing.T) {
	for _, c := range []struct{ paths, want string }{
		{". d1 d1 d1, a d1 - d1, a/b f1 - f1", "a delete in the mesh, a/b delete in the mesh"},
		{"a d1 - d1, a/b f1 - f2", "a write, a/b write"},
		{"a d1 d1 -, a/b f1 f2 -", "a put, a/b put"},
		{"a d1 d1 -, a/b f1 f1 -", "a delete here, a/b delete here"},
		// It became a file here, and what was in it has changed in the mesh.
		{"a d1 f2 d1, a/b f1 - f2", "a put and write, of two, a/b write"},
		{"a d1 f2 d1, a/b f1 - f1", "a put, a/b delete in the mesh"},
		// It became a file there.
		{"a d1 d1 f2, a/b f1 f2 -", "a put, of two, a/b put"},
		{"a d1 d1 f2, a/b f1 f1 -", "a write, a/b delete here"},
		// A file became a directory, on either side.
		{"a f1 d2 f1, a/b - f1 -", "a put, a/b put"},
		{"a f1 f1 d2, a/b - - f1", "a write, a/b write"},
		{"a f1 f2 d3, a/b - - f1", "a put and write, of two, a/b write"},
		{"a f1 f3 d2, a/b - - f1", "a put and write, of two, a/b write"},
		{"a f1 d2 f3, a/b - f1 -", "a put, of two, a/b put"},
		// The mesh has both.
		{"a - - f1, a/b - - f1, a/b/c - - f1", "a make both, of two, a/b make both, of two, a/b/c write"},
		{"a f1 f1 f1, a/b - - f1", "a make both, of two, a/b write"},
		{"a - - l1, a/b - - f1, ab - - f1", "a make both, of two, a/b write, ab write"},
		{"a/b - - f1", "a/b write"},
		// Nothing is ever done to the top but to have both be the same.
		{". d1 - d1", ". write"},
		{". d1 d1 -", ". put"},
	} {
		var all []Path
		for part := range strings.SplitSeq(c.paths, ", ") {
			f := strings.Fields(strings.ReplaceAll(part, "-", "\"\""))
			for i := range f {
				f[i] = strings.Trim(f[i], `"`)
			}
			all = append(all, Path{f[0], lastOf(f[1]), stateOf(f[2]), stateOf(f[3]), true})
		}
		slices.Reverse(all)
		var got []string
		for _, st := range Plan(all, Way{Both: true}) {
			if st.Path.Path != "." || len(all) == 1 {
				got = append(got, st.Path.Path+" "+st.Action.String())
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.paths, s, c.want)
		}
	}
}

// Whatever the states are, what a plan leaves on both sides is one tree, no
// change is deleted, and nothing changes twice.
func TestPlansOfAllStates(t *testing.T) {
	states := []string{"", "f1", "f2", "f3", "d1", "d2", "l3"}
	var pairs [][3]string
	for _, last := range states {
		for _, local := range states {
			for _, mesh := range states {
				pairs = append(pairs, [3]string{last, local, mesh})
			}
		}
	}
	for _, a := range pairs {
		for _, b := range pairs {
			if b[1] != "" && !strings.HasPrefix(a[1], "d") {
				continue // a file system has no such thing
			}
			steps := Plan([]Path{{"a", lastOf(a[0]), stateOf(a[1]), stateOf(a[2]), true}, {"a/b", lastOf(b[0]), stateOf(b[1]), stateOf(b[2]), true}}, Way{Both: true})
			what := fmt.Sprintf("a %q, a/b %q: %s, %s", a, b, steps[0].Action, steps[1].Action)
			if up, below := steps[0].stays(), steps[1].stays(); below != nil && up != nil && up.Type != tree.Directory {
				t.Errorf("%s: something is below what is no directory", what)
			}
			for _, s := range steps {
				local, mesh := localChanged(s.Last, s.Local), MeshChanged(s.Last, s.Mesh)
				switch {
				case s.Op == DeleteLocal && local, s.Op == DeleteMesh && mesh:
					t.Errorf("%s: a change is deleted", what)
				case s.Op == Write && local && s.Local != nil && s.Local.Type != tree.Directory:
					t.Errorf("%s: a change is overwritten", what)
				case s.Op == Put && s.Local == nil, (s.Op == Write || s.Op == PutAndWrite) && s.Mesh == nil, s.Op == PutAndWrite && s.Local.Type == tree.Directory:
					t.Errorf("%s: there is no such thing", what)
				}
			}
		}
	}
}

// Of the top nothing is deleted, and nothing at all if that is asked for; then what
// something is kept below stays a directory.
func TestPlansThatKeep(t *testing.T) {
	paths := func() []Path {
		return []Path{{".", lastOf("d1"), nil, stateOf("d1"), false}, {"a", lastOf("d1"), stateOf("d1"), stateOf("f2"), false}, {"a/b", lastOf("f1"), stateOf("f1"), nil, true},
			{"c", lastOf("f1"), nil, stateOf("f1"), false}}
	}
	for _, c := range []struct {
		way  Way
		want []string
		kept int
	}{
		{Way{}, []string{"keep", "put", "put", "delete in the mesh"}, 0},
		{Way{Keep: true}, []string{"keep", "put", "put", "keep"}, 1},
		{Way{Both: true}, []string{"write", "write", "delete here", "delete in the mesh"}, 0},
		{Way{Both: true, Keep: true}, []string{"write", "put, of two", "keep", "keep"}, 2},
	} {
		var got []string
		kept := 0
		for _, st := range Plan(paths(), c.way) {
			got = append(got, st.Action.String())
			if st.Kept() {
				kept++
			}
		}
		if !slices.Equal(got, c.want) || kept != c.kept {
			t.Errorf("%+v: got %q, %d kept; want %q, %d", c.way, got, kept, c.want, c.kept)
		}
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		l            Limit
		deleted, all int
		want         bool
	}{
		{DefaultLimit, 100, 100, true}, {DefaultLimit, 101, 1000, false}, {DefaultLimit, 101, 1010, true}, {DefaultLimit, 0, 0, true},
		{Limit{N: 3}, 3, 3, true}, {Limit{N: 3}, 4, 1000, false}, {Limit{Percent: 50}, 5, 10, true}, {Limit{Percent: 50}, 6, 10, false}, {Limit{}, 1, 10, false}, {Limit{}, 0, 10, true},
	} {
		if got := c.l.Allows(c.deleted, c.all); got != c.want {
			t.Errorf("%+v allows %d of %d: %v", c.l, c.deleted, c.all, got)
		}
	}
}

func TestDepthIsFromTheInsideOut(t *testing.T) {
	var steps []Step
	for _, p := range []string{"a", "a/b/c", "a/b", "b", "."} {
		steps = append(steps, Step{Path: Path{Path: p}})
	}
	slices.SortFunc(steps, Depth)
	if steps[0].Path.Path != "a/b/c" || steps[1].Path.Path != "a/b" {
		t.Errorf("got %v", steps)
	}
}
