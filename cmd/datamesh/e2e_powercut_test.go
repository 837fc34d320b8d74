//go:build unix

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// onlyNightly skips, loudly, what takes too long for every change.
func onlyNightly(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("TEST_DATAMESH_NIGHTLY") != "1" {
		t.Skipf("NOT TESTED: %s: run .ci/nightly; it takes minutes", what)
	}
}

// allSteps returns the steps of all packages, as the source names them.
func allSteps(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", "..", "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "At" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "step" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name of a step is no constant", path)
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil || slices.Contains(names, name) {
				t.Errorf("%s: step %q is there twice, %v", path, name, err)
			}
			names = append(names, name)
			return true
		})
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("steps of the source: %q, %v", names, err)
	}
	return names
}

// A victim is a member whose process dies at a step, and what has to be there
// whatever happens to it.
type victim struct {
	*member
	outer    *testing.T // lasts longer than a task, and so do the services
	dir      string     // by which it is told where to die, and says which steps it has reached
	segments int        // of all that was acknowledged
	objects  map[datamesh.ObjectID][]byte
	puts     int
	died     bool // since it was armed
}

// arm has the process die at a step from now on; "": nowhere.
func (v *victim) arm(t *testing.T, at string) {
	t.Helper()
	for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
		if err := os.WriteFile(filepath.Join(v.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// reached returns the steps that were reached since it was armed.
func (v *victim) reached(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(v.dir, stepsReached))
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	slices.Sort(names)
	return slices.Compact(names)
}

// put stores an object through the victim, which may die over that. Then the
// object is there or it is not.
func (v *victim) put(t *testing.T) {
	t.Helper()
	v.puts++
	name, content := fmt.Sprint("cut ", v.puts), noisy(byte(v.puts), 300_000)
	cmd := v.command("put", "-", "--name", name)
	cmd.Stdin = bytes.NewReader(content)
	o := start(t, cmd).wait(t)
	v.wakes(t)
	for _, x := range result[node.List](t, v.run(t, "list")).Objects {
		if x.Name == name {
			v.segments += segmentsOfAPut
			v.objects[x.ID] = content
			return
		}
	}
	if o.code == 0 {
		t.Errorf("a put was acknowledged, and is not in the catalog: %s", o.stdout)
	}
}

// last is the name of what was put last.
func (v *victim) last() string { return fmt.Sprint("cut ", v.puts) }

// settles waits until what was put last is deleted, and the mesh has been told
// that, or is not deleted.
func (v *victim) settles(t *testing.T) {
	t.Helper()
	eventually(t, v.last()+" is deleted, or is not", func() bool {
		all := result[node.DeletedObjects](t, v.run(t, "list", "--deleted")).Objects
		return !slices.ContainsFunc(all, func(x node.DeletedObject) bool { return !x.Done })
	})
	listed := map[datamesh.ObjectID]bool{}
	for _, x := range result[node.List](t, v.run(t, "list")).Objects {
		listed[x.ID] = true
		if x.Name == v.last() && v.objects[x.ID] == nil {
			v.objects[x.ID], v.segments = noisy(byte(v.puts), 300_000), v.segments+segmentsOfAPut
		}
	}
	for id, content := range v.objects {
		if !listed[id] && bytes.Equal(content, noisy(byte(v.puts), 300_000)) {
			delete(v.objects, id)
			v.segments -= segmentsOfAPut
		}
	}
}

// segmentsOfAPut is how many segments an object has that is put on the way: that
// of the content, and the manifest's.
const segmentsOfAPut = 2

// types runs a command of which the victim may die.
func (v *victim) types(t *testing.T, args ...string) {
	t.Helper()
	if o := v.run(t, args...); o.code != 0 {
		<-v.task.ended
	}
	v.wakes(t)
}

// insists is as types, and runs it again if the victim has died.
func (v *victim) insists(t *testing.T, args ...string) {
	t.Helper()
	if o := v.run(t, args...); o.code == 0 {
		return
	}
	<-v.task.ended
	v.wakes(t)
	if o := v.run(t, args...); o.code != 0 && o.code != 4 { // 4: its service has done it meanwhile
		t.Errorf("%q: exit status %d: %s", args, o.code, o.stderr)
	}
}

// wakes starts the victim again if it has died.
func (v *victim) wakes(t *testing.T) {
	t.Helper()
	if !v.task.running() {
		v.arm(t, "")
		v.died = true
		restart(v.outer, v.member)
		v.mesh.settle(t)
	}
}

// starts starts the victim, which may die over that, until it is ready.
func (v *victim) starts(t *testing.T) {
	t.Helper()
	said := v.launch(v.outer, v.flags[0])
	select {
	case v.ready = <-said:
	case <-v.task.ended:
	}
}

// heal has all members repair what is not whole, and checks that everything is
// there: all that was acknowledged, nothing else, and none of it twice.
func (v *victim) heal(t *testing.T) {
	t.Helper()
	held, segments := copies(t, v.mesh.running())
	for _, d := range segments {
		if indices(held, d) == len(d.Shards) {
			continue
		}
		for _, x := range v.mesh.running() {
			if o := x.run(t, "repair"); o.code != 0 && o.code != 9 {
				t.Errorf("repair exited with %d: %s", o.code, o.stderr)
			}
		}
		break
	}
	v.mesh.complete(t, v.segments)
	v.user.readable(t, v.objects)
}

// A stepping is a task that has steps. Its first function makes ready, and the second has
// the victim come to the steps.
type stepping struct {
	name       string
	ready, act func(t *testing.T, v *victim)
}

// The tasks.
var steppings = []stepping{
	{"put", func(t *testing.T, v *victim) {
		kill(v.member) // its next put begins a journal
		v.wakes(t)
	}, func(t *testing.T, v *victim) { v.put(t) }},
	{"sweep", func(t *testing.T, v *victim) {
		v.arm(t, "object: put: all is stored and reported")
		o := start(t, v.putting()).wait(t)
		if o.code == 0 {
			t.Errorf("a put was acknowledged by a process that was to die: %s", o.stdout)
		}
		<-v.task.ended
	}, func(t *testing.T, v *victim) {
		v.starts(t)
		eventually(t, "the victim dies, or its journals are gone", func() bool {
			left, err := filepath.Glob(filepath.Join(v.home, "puts", "*"))
			return !v.task.running() || err == nil && len(left) == 0
		})
	}},
	{"scrub", func(t *testing.T, v *victim) {
		at := func(b []byte, i int) { b[i] ^= 1 }
		damages := []func(b []byte){func(b []byte) { at(b, len(b)-1) }, func(b []byte) { at(b, 20) }}
		held := v.ledger(t).sizes
		for key, path := range v.shardFiles(t) {
			if held[key] == 0 {
				continue // it is in the trash, and is not looked at
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v: %v", key, err)
			}
			damages[0](b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if damages = damages[1:]; len(damages) == 0 {
				return
			}
		}
		t.Fatal("the victim has too few files")
	}, func(t *testing.T, v *victim) {
		v.run(t, "scrub")
		v.wakes(t)
		v.run(t, "scrub")
	}},
	{"index", func(t *testing.T, v *victim) {
		kill(v.member)
		path := filepath.Join(v.home, "store", "node.db")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, noisy(7, int64(len(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, v *victim) { v.starts(t) }},
	{"repair", func(t *testing.T, v *victim) {
		kill(v.other())
		v.seesDead(t, 1)
	}, func(t *testing.T, v *victim) {
		v.run(t, "repair")
		v.wakes(t)
		v.mesh.complete(t, v.segments)
		restart(v.outer, v.other())
		v.mesh.settle(t)
	}},
	{"delete", func(t *testing.T, v *victim) { v.put(t) }, func(t *testing.T, v *victim) {
		v.types(t, "rm", v.last())
		v.settles(t)
	}},
	{"undelete", func(t *testing.T, v *victim) {
		v.put(t)
		v.run(t, "rm", v.last())
		v.settles(t)
	}, func(t *testing.T, v *victim) {
		v.types(t, "undelete", v.last())
		v.settles(t)
	}},
	{"cleanup", func(t *testing.T, v *victim) { v.litters(t) }, func(t *testing.T, v *victim) {
		v.types(t, "cleanup")
		v.cleans(t)
	}},
	{"cleanup --undo", func(t *testing.T, v *victim) {
		v.litters(t)
		v.cleans(t)
	}, func(t *testing.T, v *victim) {
		v.types(t, "cleanup", "--undo")
		v.run(t, "cleanup", "--undo")
		result[node.Cleaned](t, v.run(t, "cleanup", "--dry-run"))
		v.ages(t)
		v.cleans(t)
	}},
	{"share", func(t *testing.T, v *victim) {
		v.put(t)
		friend := v.mesh.user(t)
		v.user.knows(t, filepath.Base(friend.home), friend)
	}, func(t *testing.T, v *victim) {
		known := result[node.Contacts](t, v.run(t, "contact", "list")).Contacts
		friend := known[len(known)-1].Address
		v.insists(t, "share", v.last(), "--to", friend)
		shared := result[node.Shares](t, v.run(t, "list", "--shared")).Shares
		if len(shared) != 1 || shared[0].Name != v.last() {
			t.Errorf("shared: %+v", shared)
		}
		v.insists(t, "unshare", v.last(), "--from", friend)
		eventually(t, "it is shared no more", func() bool {
			return len(result[node.Shares](t, v.run(t, "list", "--shared")).Shares) == 0
		})
	}},
	{"surplus", nothing, func(t *testing.T, v *victim) {
		for range 5 { // others may give up theirs
			kill(v.other())
			v.seesDead(t, 1)
			v.run(t, "repair")
			v.mesh.complete(t, v.segments)
			restart(v.outer, v.other())
			eventually(t, "the victim dies, or nothing is twice", func() bool {
				held, _ := copies(t, v.mesh.members)
				return !v.task.running() || !slices.ContainsFunc(slices.Collect(maps.Values(held)), func(n int) bool { return n > 1 })
			})
			if !v.task.running() {
				return
			}
			v.mesh.settle(t)
		}
	}},
}

// litters leaves a segment in the mesh of a put of which nobody knows any more, and
// has the victim have seen it for long.
func (v *victim) litters(t *testing.T) {
	t.Helper()
	v.arm(t, "object: put: a segment is stored")
	cmd := v.command("put", "-")
	cmd.Stdin = bytes.NewReader(noisy(254, 300_000))
	if o := start(t, cmd).wait(t); o.code == 0 {
		t.Errorf("a put was acknowledged by a process that was to die: %s", o.stdout)
	}
	<-v.task.ended
	if err := os.RemoveAll(filepath.Join(v.home, "puts")); err != nil {
		t.Fatal(err)
	}
	v.wakes(t)
	result[node.Cleaned](t, v.run(t, "cleanup", "--dry-run"))
	v.ages(t)
}

// cleans puts what is left over into the trash, if it is not there by now.
func (v *victim) cleans(t *testing.T) {
	t.Helper()
	result[node.Cleaned](t, v.run(t, "cleanup"))
	if c := result[node.Cleaned](t, v.run(t, "cleanup")); c.Segments+c.Waiting > 0 {
		t.Errorf("after a cleanup: got %+v", c)
	}
}

func nothing(*testing.T, *victim) {}

// putting is a put through the victim that is not meant to succeed.
func (v *victim) putting() *exec.Cmd {
	cmd := v.command("put", "-")
	cmd.Stdin = bytes.NewReader(noisy(255, 300_000))
	return cmd
}

// other returns the member that goes so that there is something to repair.
func (v *victim) other() *member { return v.mesh.members[5] }

// A process is killed at each step at which something becomes durable. What
// was acknowledged is there afterwards, and nothing else is.
func TestPowerCutAtEachStepLosesNothing(t *testing.T) {
	t.Parallel()
	onlyNightly(t, "a power cut at each step of writing")
	m := emptyMesh(t, "DATAMESH_REPAIR_GRACE=5s", "DATAMESH_REPAIR_INTERVAL=20s", "DATAMESH_PUT_GRACE=3s")
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	m.exe = exe
	first := m.add(t, "bootstrap", "--port", "0")
	first.start(t)
	for range 5 {
		m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...)
	}
	v := &victim{member: m.members[2], outer: t, dir: t.TempDir()}
	v.env = []string{stepsDir + "=" + v.dir}
	v.arm(t, "")
	startAll(t, m.members[1:]...)
	m.settle(t)
	v.objects, v.segments = v.user.puts(t, 200, 12)
	m.complete(t, v.segments)

	left := slices.DeleteFunc(allSteps(t), func(step string) bool {
		return ofPassphrase(step) || ofRotation(step) || ofRevocation(step) || ofSync(step) || ofSuccession(step)
	})
	for _, s := range steppings {
		t.Run(s.name, func(t *testing.T) {
			v.arm(t, "")
			s.ready(t, v)
			v.arm(t, "")
			s.act(t, v)
			reached := v.reached(t)
			v.wakes(t)
			v.heal(t)
			for _, at := range reached {
				i := slices.Index(left, at)
				if i < 0 {
					continue // it was cut there already
				}
				left = slices.Delete(left, i, i+1)
				v.arm(t, "")
				s.ready(t, v)
				v.arm(t, at)
				v.died = false
				s.act(t, v)
				v.wakes(t)
				if !v.died {
					t.Errorf("%q was not reached again", at)
				}
				v.heal(t)
				t.Logf("cut at %q", at)
			}
		})
	}
	for _, at := range left {
		t.Errorf("no task has reached %q", at)
	}
}
