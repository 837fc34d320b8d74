//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/format"
)

// A list of 30 MB takes neither the command that prints it nor the service that it
// comes from much more memory than a short one.
func TestLongListsTakeLittleMemory(t *testing.T) {
	onlyInFull(t, "lists of many thousand objects in little memory")
	t.Parallel()
	const objects, nameLen, most = 20_000, 1500, 24 << 20
	m := emptyMesh(t)
	x := m.add(t, "bootstrap", "--port", "0")
	home := config.Home(x.home)
	if err := home.Make(); err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), home.Default().Catalog())
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < objects; {
		var changes []format.Change
		for range 1000 {
			i++
			changes = append(changes, format.Change{Object: datamesh.ObjectID{byte(i), byte(i >> 8), 1}, Clock: uint64(i), Size: 1, Created: int64(i),
				Name: fmt.Sprintf("dir/%s/%d", strings.Repeat("n", nameLen), i)})
		}
		if _, err := c.Learn(t.Context(), catalog.DeviceID{1}, changes); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	peak := func(args ...string) (most int64, file string) {
		file = filepath.Join(t.TempDir(), "out")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd := x.command(args...)
		cmd.Stdout = out
		k := start(t, cmd)
		memory := watchMemory(k)
		if o := k.wait(t); o.code != 0 {
			t.Fatalf("%v: exit status %d: %s", args, o.code, o.stderr)
		}
		return <-memory, file
	}
	compare := func(what string) {
		t.Helper()
		short, same := int64(0), 0
		for same < 3 { // who looks now and then may always look too early
			n, _ := peak("list", "--limit", "1")
			if same++; n > short {
				short, same = n, 0
			}
		}
		if short == 0 {
			t.Fatalf("%s: nobody has seen how much memory a short list takes", what)
		}
		for _, args := range [][]string{{"list"}, {"list", "dir/**", "--sort", "size"}, {"list", "--json=false"}} {
			long, file := peak(args...)
			if long == 0 || long > short+most {
				t.Errorf("%s, %v: %d MiB, and %d for one object", what, args, long>>20, short>>20)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if args[len(args)-1] == "--json=false" {
				if n := strings.Count(string(b), "\n"); n != objects+1 {
					t.Errorf("%s, %v: %d lines", what, args, n)
				}
				continue
			}
			var list struct{ Objects []json.RawMessage }
			if err := json.Unmarshal(b, &list); err != nil || len(list.Objects) != objects || len(b) < objects*nameLen {
				t.Errorf("%s, %v: %d objects, %v", what, args, len(list.Objects), err)
			}
		}
	}
	compare("alone")
	x.start(t)
	before, err := peakMemory(x.task.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	compare("beside a service")
	after, err := peakMemory(x.task.cmd.Process.Pid)
	if err != nil || after > before+2*most { // it publishes, and keeps shards, too
		t.Errorf("the service: %d MiB, and %d before: %v", after>>20, before>>20, err)
	}
}
