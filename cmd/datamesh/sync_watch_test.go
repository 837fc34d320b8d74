//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
)

// A sync that watches stores what changes, also in directories that are made
// later, and ends well when it is asked to.
func TestSyncWatches(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		u := &user{mesh: emptyMesh(t)}
		u.home = filepath.Join(u.mesh.dir, "u")
		dir := filepath.Join(t.TempDir(), "d")
		writeAt(t, filepath.Join(dir, "first"), "1", 2e9)
		writeAt(t, filepath.Join(dir, "ignored"), "1", 2e9)
		cmd := u.command("sync", dir, "--watch", "--exclude", "ignored")
		out, in := io.Pipe()
		cmd.Stdout = in
		k := start(t, cmd)
		rounds := make(chan synced)
		go func() {
			defer close(rounds)
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				var r synced
				if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
					t.Errorf("%v in %q", err, lines.Bytes())
				}
				rounds <- r
			}
		}()
		// until reads rounds until one has a file in a state.
		until := func(name, state string) {
			t.Helper()
			guarding := time.After(guard)
			for {
				select {
				case r := <-rounds:
					for _, f := range r.Files {
						if f.State == fileUnchanged {
							t.Errorf("%+v is said to be unchanged", f)
						}
						if f.Name == name && f.State == state {
							return
						}
					}
				case <-k.ended:
					t.Fatalf("it ended: %s", &k.stderr)
				case <-guarding:
					t.Fatalf("%s is not %s", name, state)
				}
			}
		}
		until("d/first", fileStored)
		if sig == syscall.SIGTERM {
			writeAt(t, filepath.Join(dir, "second"), "2", 2e9)
			until("d/second", fileStored)
			writeAt(t, filepath.Join(dir, "a", "b", "third"), "3", 2e9)
			until("d/a/b/third", fileStored)
			writeAt(t, filepath.Join(dir, "a", "b", "third"), "33", 3e9)
			until("d/a/b/third", fileStored)
			if err := errors.Join(os.Remove(filepath.Join(dir, "first")), os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c"))); err != nil {
				t.Fatal(err)
			}
			until("d/first", fileDeleted)
			writeAt(t, filepath.Join(dir, "c", "b", "fourth"), "4", 2e9)
			until("d/c/b/fourth", fileStored)
		}
		k.signal(t, sig)
		go func() {
			for range rounds {
			}
		}()
		<-k.ended
		in.Close()
		if o := k.wait(t); o.code != 0 || strings.Contains(string(o.stderr), "again") {
			t.Errorf("%v: exit status %d: %s", sig, o.code, o.stderr)
		}
		if list := result[node.List](t, u.run(t, "list", "d/ignored")); len(list.Objects) > 0 {
			t.Errorf("what is left out was stored: %+v", list.Objects)
		}
	}
}

// A sync that watches also looks at the mesh now and then, tells of a round that
// could not be begun, and goes on.
func TestSyncThatWatchesLooksAtTheMesh(t *testing.T) {
	w := &syncWorld{t: t, clock: time.Unix(2e9, 0).UTC(), given: map[string]bool{}, deleted: map[string]bool{"there": true}, deletedText: map[string]bool{"from there": true}}
	base := t.TempDir()
	home := func(name string) *syncHome {
		h := &syncHome{w: w, dir: filepath.Join(base, name), memory: filepath.Join(base, name+".memory"), heard: map[datamesh.ObjectID]bool{}, left: -1000}
		return h
	}
	here, there := home("here"), home("there")
	writeAt(t, filepath.Join(there.dir, "there"), "from there", 2e9)
	if _, err := there.sync(0); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	said := make(chan string, 100)
	errOut, errIn := io.Pipe()
	for _, r := range []io.Reader{out, errOut} {
		go func() {
			for lines := bufio.NewScanner(r); lines.Scan(); {
				said <- lines.Text()
			}
		}()
	}
	c := &cli{out: in, err: errIn, quiet: true}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.watchSync(ctx, here, syncOptions{dir: here.dir, name: "top", twoWay: true, limit: mirror.Limit{}, memory: here.memory},
			watchTimes{quiet: time.Millisecond, most: time.Second, every: 10 * time.Millisecond})
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		eventually(t, what, func() bool {
			select {
			case err := <-ended:
				t.Fatalf("it ended: %v", err)
			default:
			}
			return ok()
		})
	}
	has := func(name, want string) func() bool {
		return func() bool {
			b, err := os.ReadFile(filepath.Join(here.dir, name))
			return err == nil && string(b) == want
		}
	}
	until("what was there is here", has("there", "from there"))
	if line := <-said; len(line) < len("15:04:05 2 written") || line[8:] != " 2 written" {
		t.Errorf("it said %q", line)
	}
	// A deletion there is more than may be here.
	writeAt(t, filepath.Join(there.dir, "more"), "more", 2e9)
	if err := os.Remove(filepath.Join(there.dir, "there")); err != nil {
		t.Fatal(err)
	}
	if _, err := there.sync(0); err != nil {
		t.Fatal(err)
	}
	until("it says so", func() bool { return strings.HasPrefix(<-said, "warning: sync ") }) // perhaps once it has what is new
	if !has("there", "from there")() {
		t.Error("what may not be is deleted")
	}
	writeAt(t, filepath.Join(there.dir, "there"), "again", 3e9)
	if _, err := there.sync(0); err != nil {
		t.Fatal(err)
	}
	until("it goes on", has("there", "again"))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
