//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/node"
)

// A soak is a mesh that is used for a long time while its members die and come
// back. At most two of them are away at once, and the first two never are: in
// them a leak would show.
type soak struct {
	*mesh
	outer    *testing.T // lasts longer than a round, and so do the services
	random   *rand.Rand
	users    []*user // the last ones through services
	contents map[string][]byte
	names    []string // of objects whose puts were acknowledged, and that were not deleted
	deleted  []string
	unsure   map[string]bool // whether they are deleted: a delete, or an undelete, was cut off or failed
	busy     map[string]bool // in this round
	owner    map[string]*user
	segments map[string]int // of each of them
	away     map[*member]bool
	done     map[string]int // how often each thing was done, and failed
}

// A soakAction is something that happens. What it begins goes on while other
// things happen; it returns what is to be done in the end, or nil.
type soakAction struct {
	name   string
	weight int
	begin  func(s *soak, t *testing.T) (end func(t *testing.T))
}

// What happens in a soak.
var soakActions = []soakAction{
	{"put", 3, (*soak).put},
	{"get", 9, (*soak).get},
	{"kill", 1, func(s *soak, t *testing.T) func(*testing.T) { return s.goes(t, syscall.SIGKILL) }},
	{"stop", 1, func(s *soak, t *testing.T) func(*testing.T) { return s.goes(t, syscall.SIGTERM) }},
	{"return", 2, (*soak).returns},
	{"delete", 2, (*soak).delete},
	{"undelete", 1, (*soak).undelete},
}

// put begins to store something of any size up to 2 MiB.
func (s *soak) put(t *testing.T) func(t *testing.T) {
	u := s.users[s.random.IntN(len(s.users))]
	name := fmt.Sprint("soak ", len(s.contents))
	content := make([]byte, 1<<s.random.IntN(21)+s.random.IntN(1<<s.random.IntN(21)))
	for i := range content {
		content[i] = byte(s.random.Uint32())
	}
	s.contents[name] = content
	cmd := u.command("put", "-", "--name", name)
	cmd.Stdin = bytes.NewReader(content)
	k := start(t, cmd)
	if s.random.IntN(20) == 0 { // somebody pulls the plug of the user's machine, too
		return func(*testing.T) { k.kill() }
	}
	return func(t *testing.T) {
		if o := k.wait(t); o.code == 0 {
			s.names = append(s.names, name)
			s.owner[name], s.segments[name] = u, document[node.Stored](t, o.stdout).Segments
		} else if o.code != 5 && o.code != 8 { // who should have done it is away
			t.Errorf("put exited with %d: %s", o.code, o.stderr)
		} else {
			s.done["put in vain"]++
		}
	}
}

// get begins to read something that was stored before.
func (s *soak) get(t *testing.T) func(t *testing.T) {
	if len(s.names) == 0 {
		return nil
	}
	name := s.names[s.random.IntN(len(s.names))]
	s.busy[name] = true
	k := start(t, s.owner[name].command("get", name, "-"))
	return func(t *testing.T) {
		o := k.wait(t)
		switch {
		case o.code == 0 && !bytes.Equal(o.stdout, s.contents[name]):
			t.Errorf("get %s: got %d other bytes, want %d", name, len(o.stdout), len(s.contents[name]))
		case o.code == 5, o.code == 8: // what survives one loss may not be there while two are away
			s.done["get in vain"]++
		case o.code != 0:
			t.Errorf("get %s: exited with %d: %s", name, o.code, o.stderr)
		}
	}
}

// takes takes a name at random out of a list, if nobody uses that in this round.
func (s *soak) takes(list *[]string) (name string, ok bool) {
	if len(*list) == 0 {
		return "", false
	}
	i := s.random.IntN(len(*list))
	if name = (*list)[i]; s.busy[name] {
		return "", false
	}
	s.busy[name] = true
	*list = slices.Delete(*list, i, i+1)
	return name, true
}

// delete begins to delete something.
func (s *soak) delete(t *testing.T) func(t *testing.T) {
	return s.changes(t, "rm", &s.names, &s.deleted)
}

// undelete begins to bring back something that was deleted.
func (s *soak) undelete(t *testing.T) func(t *testing.T) {
	return s.changes(t, "undelete", &s.deleted, &s.names)
}

func (s *soak) changes(t *testing.T, how string, from, to *[]string) func(t *testing.T) {
	name, ok := s.takes(from)
	if !ok {
		return nil
	}
	k := start(t, s.owner[name].command(how, name))
	if s.random.IntN(10) == 0 {
		return func(*testing.T) { k.kill(); s.unsure[name] = true }
	}
	return func(t *testing.T) {
		switch o := k.wait(t); o.code {
		case 0:
			*to = append(*to, name)
		case 5, 8:
			s.done[how+" in vain"]++
			s.unsure[name] = true
		default:
			t.Errorf("%s %s exited with %d: %s", how, name, o.code, o.stderr)
		}
	}
}

// decides has everything deleted that it is not sure of whether it is.
func (s *soak) decides(t *testing.T) {
	for name := range s.unsure {
		eventually(t, name+" is deleted", func() bool {
			o := s.owner[name].run(t, "rm", name)
			if o.code != 0 && o.code != 1 && o.code != 5 && o.code != 8 {
				t.Fatalf("rm %s exited with %d: %s", name, o.code, o.stderr)
			}
			return o.code < 2
		})
		s.deleted = append(s.deleted, name)
	}
}

// goes has a member die, or end in order.
func (s *soak) goes(t *testing.T, how syscall.Signal) func(t *testing.T) {
	x := s.members[2+s.random.IntN(len(s.members)-2)]
	if len(s.away) == 2 || s.away[x] {
		return nil
	}
	s.away[x] = true
	x.task.signal(t, how)
	return func(t *testing.T) {
		select {
		case <-x.task.ended:
		case <-time.After(guard):
			t.Fatalf("%s does not end by %v", x.home, how)
		}
	}
}

// returns has a member come back that is away.
func (s *soak) returns(*testing.T) func(t *testing.T) {
	for _, x := range s.members {
		if s.away[x] {
			return func(*testing.T) {
				if s.away[x] { // no other return in this round had it come back
					restart(s.outer, x)
					delete(s.away, x)
				}
			}
		}
	}
	return nil
}

// round has some things happen at once, and waits for them.
func (s *soak) round(t *testing.T) {
	total := 0
	for _, a := range soakActions {
		total += a.weight
	}
	var ends []func(*testing.T)
	clear(s.busy)
	for range 1 + s.random.IntN(8) {
		n := s.random.IntN(total)
		for _, a := range soakActions {
			if n -= a.weight; n >= 0 {
				continue
			}
			if end := a.begin(s, t); end != nil {
				s.done[a.name]++
				ends = append(ends, end)
			}
			break
		}
	}
	for _, end := range ends {
		end(t)
	}
}

// A weight is what a process has that can leak.
type weight struct{ goroutines, files, peak int64 }

func (x *member) weighs(t *testing.T) weight {
	t.Helper()
	pid := x.task.cmd.Process.Pid
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	peak, err := peakMemory(pid)
	if err != nil {
		t.Fatal(err)
	}
	return weight{int64(result[node.Stats](t, x.run(t, "stats")).Goroutines), int64(len(files)), peak}
}

// TestSoak puts and gets while members die and come back, for 20 seconds or as
// long as TEST_DATAMESH_SOAK says. TEST_DATAMESH_SEED repeats the choices of
// another run, though not what comes of them.
func TestSoak(t *testing.T) {
	t.Parallel()
	text := os.Getenv("TEST_DATAMESH_SOAK")
	if text == "" {
		onlyInFull(t, "a mesh that is used while members die and come back")
		text = "20s"
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	if text := os.Getenv("TEST_DATAMESH_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the seed is %d", seed)
	s := &soak{mesh: healing(t, 8, "DATAMESH_PUT_GRACE=3s", "DATAMESH_AUDIT_INTERVAL=1m", "DATAMESH_SCRUB_INTERVAL=1m"),
		outer: t, random: rand.New(rand.NewPCG(seed, 0)), contents: map[string][]byte{}, owner: map[string]*user{}, segments: map[string]int{}, away: map[*member]bool{}, unsure: map[string]bool{}, busy: map[string]bool{}, done: map[string]int{}}
	s.users = []*user{s.user(t), s.user(t), &s.members[0].user, &s.members[3].user}
	began := time.Now()
	var before []weight
	for n := 0; (time.Since(began) < length || !s.hasDoneAll()) && !t.Failed(); n++ {
		t.Run(strconv.Itoa(n), s.round)
		if before == nil && time.Since(began) > length/4 {
			for _, x := range s.members[:2] {
				before = append(before, x.weighs(t))
			}
		}
	}
	t.Logf("done: %v", s.done)
	most := s.done["kill"] + s.done["stop"] // each may cut off some
	if s.done["put in vain"] > s.done["put"]/4+most || s.done["get in vain"] > s.done["get"]/4+most {
		t.Error("too much was done in vain")
	}
	s.ends(t, before)
}

// hasDoneAll reports whether everything was done that can happen.
func (s *soak) hasDoneAll() bool {
	return !slices.ContainsFunc(soakActions, func(a soakAction) bool { return s.done[a.name] == 0 })
}

// ends lets the mesh come to rest, and checks that all is there that should be,
// and nothing else.
func (s *soak) ends(t *testing.T, before []weight) {
	for s.returnsNow() {
	}
	s.settle(t)
	for i, x := range s.members[:len(before)] {
		was, is := before[i], weight{}
		eventually(t, "what has served for all that time is as it was", func() bool {
			is = x.weighs(t)
			return is.goroutines <= was.goroutines*3/2+50 && is.files <= was.files*3/2+50
		})
		t.Logf("%s: after a quarter of the time %+v, in the end %+v", x.home, was, is)
		checkMemory(t, x.home, is.peak)
	}
	for _, x := range s.members { // a service cleans up when it starts
		if len(x.journals(t)) > 0 {
			kill(x)
			restart(t, x)
			s.settle(t)
		}
	}
	s.decides(t)
	inCatalog, segments := map[string]bool{}, 0
	for _, u := range s.users {
		for _, x := range result[node.List](t, u.run(t, "list")).Objects {
			inCatalog[x.Name] = true
			if s.segments[x.Name] == 0 { // its put ended before it could say so
				s.owner[x.Name], s.segments[x.Name] = u, u.segmentsOf(t, x.ID)
			}
			segments += s.segments[x.Name]
		}
	}
	for _, name := range s.names {
		if !inCatalog[name] {
			t.Errorf("the put of %s was acknowledged, and it is in no catalog", name)
		}
	}
	for _, name := range s.deleted {
		if inCatalog[name] {
			t.Errorf("%s was deleted, and is in a catalog", name)
		}
	}
	s.complete(t, segments)
	for name := range inCatalog {
		o := s.owner[name].run(t, "get", name, "-")
		if o.code != 0 || !bytes.Equal(o.stdout, s.contents[name]) {
			t.Errorf("get %s: exited with %d, %d bytes, want %d: %s", name, o.code, len(o.stdout), len(s.contents[name]), o.stderr)
		}
	}
	t.Logf("%d objects of %d segments are whole", len(inCatalog), segments)
	temps := 0
	for _, x := range s.members {
		eventually(t, x.home+" has no journal", func() bool { return len(x.journals(t)) == 0 })
		walk(t, x.home, func(path string, _ os.FileInfo) error {
			if durable.IsTemp(filepath.Base(path)) {
				temps++ // goes when it is an hour old
			}
			return nil
		})
	}
	if most := s.done["kill"] + len(s.members); temps > most {
		t.Errorf("%d temporary files are left, and at most %d times somebody was killed who wrote one", temps, most)
	}
}

// journals returns those that say that something is left to be deleted.
func (x *member) journals(t *testing.T) (names []string) {
	t.Helper()
	walk(t, filepath.Join(x.home, "puts"), func(path string, info os.FileInfo) error {
		if strings.HasSuffix(path, ".journal") && info.Size() > 0 {
			names = append(names, path)
		}
		return nil
	})
	return names
}

// segmentsOf returns how many segments an object has, once that is known.
func (u *user) segmentsOf(t *testing.T, id datamesh.ObjectID) (n int) {
	t.Helper()
	eventually(t, "it is known where "+id.String()+" is", func() bool {
		o := u.run(t, "info", id.String())
		if o.code == 0 {
			n = len(document[node.Info](t, o.stdout).Segments)
		}
		return o.code == 0
	})
	return n
}

// returnsNow has a member come back, if any is away.
func (s *soak) returnsNow() bool {
	end := s.returns(s.outer)
	if end != nil {
		end(s.outer)
	}
	return end != nil
}
