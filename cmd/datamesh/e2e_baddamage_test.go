//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Of a file of the home that is damaged, newer or not ours every command that
// needs it says so, and leaves it as it is. With the right file in its place
// all is as before. Configurations are in e2e_config_test.go.
func TestDamagedFilesAreRefusedAndLeftAsTheyAre(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	needs := func(code int, says, hint string, commands ...[]string) (all []refusal) {
		for _, args := range commands {
			all = append(all, refusal{args, code, says, hint})
		}
		return all
	}
	var (
		get     = []string{"get", "kept", "-"}
		put     = []string{"put", "file"}
		id      = []string{"id"}
		list    = []string{"list"}
		peers   = []string{"peers"}
		service = []string{"service", "--port", "0", "--timeout", "5"}
	)
	const (
		bring     = `^move it away and bring yours back: datamesh keys import FILE$`
		newKey    = `^move it away: the node then gets a new key and peer id$`
		aside     = `^copy the file to a safe place, then move it away`
		rejoin    = `^move it away and join again: datamesh networks use PEER_ID@ADDR`
		update    = `^update datamesh: `
		elsewhere = `^give another home with --home, or move that file away$`
	)
	guests(t, func(t *testing.T, g *guest) {
		g.writes(t, "file", []byte("content"))
		g.keeps(t, "alone")
		g.does(t, "joined", append([]string{"peers"}, m.members[0].door()...)...)
		g.keeps(t, "joined")
		stranger := func(file string) func([]byte) []byte {
			return func([]byte) []byte { return g.reads(t, filepath.Join("alone", file)) }
		}
		for _, c := range []struct {
			name, home, file string
			damage           func([]byte) []byte
			refusals         []refusal
		}{
			{"truncated", "alone", "identity", halved, needs(6, `identity: no key in it, or a damaged one$`, bring, get, put, id)},
			{"corrupt", "alone", "identity", flipped, needs(6, `identity: no key in it, or a damaged one$`, bring, get, put, id)},
			{"noise", "alone", "identity", rubbish, needs(6, `identity: `, bring, get, put, id)},
			{"foreign", "alone", "identity", stranger("node.key"), needs(6, `identity: no key of this kind in it$`, bring, get, put, id)},
			{"newer", "alone", "identity", as(newerIdentity), needs(6, `identity: a key of version 2, this program knows 1$`, update, get, put, id)},
			{"empty", "alone", "identity", as(""), needs(6, `identity: no key in it`, bring, get, put, id)},

			{"truncated", "alone", "node.key", halved, needs(6, `node.key: no key in it, or a damaged one$`, newKey, get, put, id, service)},
			{"corrupt", "alone", "node.key", flipped, needs(6, `node.key: no key in it, or a damaged one$`, newKey, get, put, id)},
			{"foreign", "alone", "node.key", stranger("identity"), needs(6, `node.key: no key of this kind in it$`, newKey, get, put, id)},
			{"newer", "alone", "node.key", as(newerNodeKey), needs(6, `node.key: a key of version 2, this program knows 1$`, update, get, put, id)},

			{"truncated", "alone", "user.db", halved, needs(1, `the catalog .*user.db is damaged: `, aside, get, put, list, service)},
			{"noise", "alone", "user.db", rubbish, needs(1, `the catalog .*user.db is damaged: `, aside, get, put, list)},
			{"foreign", "alone", "user.db", stranger("store/node.db"), needs(10, `user.db is not a catalog of datamesh$`, elsewhere, get, put, list)},
			{"newer", "alone", "user.db", newerDB, needs(10, `user.db has version 2, this program knows 1$`, update, get, put, list, service)},
			{"empty", "alone", "user.db", as(""), needs(10, `user.db is not a catalog of datamesh$`, elsewhere, get, put, list)},

			{"foreign", "alone", "store/node.db", stranger("user.db"), needs(10, `node.db`, `.`, get, put)},
			{"newer", "alone", "store/node.db", newerDB, needs(10, `node.db`, update, get, put)},

			{"truncated", "joined", "mesh", halved, needs(10, `mesh: the memory of the mesh is damaged$`, rejoin, get, put, peers, service)},
			{"corrupt", "joined", "mesh", rubbish, needs(10, `mesh: the memory of the mesh is damaged$`, rejoin, get, put, peers)},
			{"foreign", "joined", "mesh", stranger("identity"), needs(10, `mesh: the memory of the mesh is damaged$`, rejoin, get, put, peers)},
			{"empty", "joined", "mesh", as(""), needs(10, `mesh: the memory of the mesh is damaged$`, rejoin, get, put, peers)},
		} {
			t.Run(c.name+" "+filepath.Base(c.file), func(t *testing.T) {
				home := g.copies(t, c.home)
				path := filepath.Join(home, c.file)
				sound := g.reads(t, path)
				bad := c.damage(bytes.Clone(sound))
				g.writes(t, path, bad)
				for _, r := range c.refusals {
					g.refused(t, home, r)
				}
				if got := g.reads(t, path); !bytes.Equal(got, bad) {
					t.Errorf("%s is not what it was: %d bytes, were %d", path, len(got), len(bad))
				}
				if o := g.run(t, home, "doctor", "--json"); o.code != 9 {
					t.Errorf("doctor finds nothing: %s", o.stdout)
				}
				g.writes(t, path, sound)
				g.readsKept(t, home)
			})
		}
	})
}

// The index of a store that is damaged is moved aside, which the command says,
// and what was in it is still there.
func TestDamagedIndexIsMovedAsideAndThatIsSaid(t *testing.T) {
	t.Parallel()
	guests(t, func(t *testing.T, g *guest) {
		file := g.writes(t, "file", noisy(1, 1<<20))
		g.keeps(t, "alone")
		g.does(t, "alone", "put", file)
		for name, damage := range map[string]func([]byte) []byte{"truncated": halved, "noise": rubbish} {
			home := g.copies(t, "alone")
			path := filepath.Join(home, "store", "node.db")
			sound := g.reads(t, path)
			bad := damage(bytes.Clone(sound))
			g.writes(t, path, bad)
			o := g.does(t, home, "put", file)
			aside := filepath.Join(g.dir, path+".damaged-1")
			if want := "warning: the index of the store was damaged, and moved to " + aside + "; "; !bytes.Contains(o.stderr, []byte(want)) {
				t.Errorf("%s: want %q, got %s", name, want, o.stderr)
			}
			if got := g.reads(t, path+".damaged-1"); !bytes.Equal(got, bad) {
				t.Errorf("%s: what was moved aside is not what it was", name)
			}
			for _, suffix := range []string{"-wal", "-shm"} {
				os.Remove(filepath.Join(g.dir, path+suffix)) // not there, or of the other index
			}
			g.writes(t, path, sound)
			g.readsKept(t, home)
		}
	})
}

// reads returns a file of the guest's.
func (g *guest) reads(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copies copies a home and returns the name of the copy.
func (g *guest) copies(t *testing.T, home string) string {
	t.Helper()
	dir, err := os.MkdirTemp(g.dir, "copy-")
	if err != nil {
		t.Fatal(err)
	}
	g.owns(t, dir)
	if out, err := exec.Command("cp", "-a", filepath.Join(g.dir, home)+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return filepath.Base(dir)
}

// halved is the first half of a file.
func halved(b []byte) []byte { return b[:len(b)/2] }

// flipped changes the file's last letter.
func flipped(b []byte) []byte {
	at := len(bytes.TrimSpace(b)) - 1
	if b[at]++; b[at] > 'Z' {
		b[at] = 'A'
	}
	return b
}

func rubbish(b []byte) []byte { return noisy(7, int64(len(b))) }

func as(text string) func([]byte) []byte {
	return func([]byte) []byte { return []byte(text) }
}

// newerDB makes a database of SQLite one of the next version: PRAGMA user_version
// is in the header.
func newerDB(b []byte) []byte {
	binary.BigEndian.PutUint32(b[60:], binary.BigEndian.Uint32(b[60:])+1)
	return b
}

// Keys as version 2 might write them.
const (
	newerIdentity = "DATAMESH-ROOT-1QGQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ89E5J\n"
	newerNodeKey  = "DATAMESH-NODE-1QGQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQKS6NYL\n"
)
