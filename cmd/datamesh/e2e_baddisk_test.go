//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"datamesh/internal/storetest"
)

// disk mounts a disk of 64 MiB for the guest, called disk.
func (g *guest) disk(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: a full disk needs root, to mount one")
	}
	dir := filepath.Join(g.dir, "disk")
	g.makes(t, dir)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("NOT TESTED: a full disk: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	g.owns(t, dir)
}

// fill leaves no room on the guest's disk until the function is called.
func (g *guest) fill(t *testing.T) (free func()) {
	t.Helper()
	disk := filepath.Join(g.dir, "disk")
	storetest.FillDisk(disk)
	return func() {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(disk, "others*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("nothing fills the disk, %v", err)
		}
		for _, file := range files {
			remove(t, file)
		}
	}
}

// roomy has a store use a disk of 64 MiB, which otherwise would be its reserve.
var roomy = []string{"DATAMESH_STORE_RESERVE=1M", "DATAMESH_STORE_CAPACITY=60M"}

const makeRoom = `^free some disk space or add a node( that has room, or keep less free: datamesh config set store.reserve SIZE)?$`

func TestFullDiskIsSaidAtEachStepAndNothingIsLost(t *testing.T) {
	t.Parallel()
	guests(t, func(t *testing.T, g *guest) {
		g.disk(t)
		g.env = roomy
		file := g.writes(t, "file", noisy(1, 100_000))
		g.keeps(t, "elsewhere")
		identity := filepath.Join(g.dir, "identity")
		g.does(t, "elsewhere", "keys", "export", identity)

		for _, args := range [][]string{{"id"}, {"list"}, {"put", file}, {"bootstrap", "--port", "0"}, {"config", "init"}, {"config", "set", "log.level", "debug"},
			{"networks", "add", "n", stranger + "@/ip4/192.0.2.7/tcp/1"}, {"keys", "import", identity}} {
			free := g.fill(t)
			g.refused(t, "disk/home", refusal{args, 12, `disk/home`, makeRoom})
			free()
			if left := (&user{mesh: g.mesh, home: filepath.Join(g.dir, "disk", "home")}).files(t); len(left) > 0 {
				t.Errorf("%v: on a full disk a home was begun with %d files", args, len(left))
			}
			if err := os.RemoveAll(filepath.Join(g.dir, "disk", "home")); err != nil {
				t.Fatal(err)
			}
		}

		g.keeps(t, "disk/home")
		g.does(t, "disk/home", "config", "init")
		before := (&user{mesh: g.mesh, home: filepath.Join(g.dir, "disk", "home")}).files(t)
		free := g.fill(t)
		for _, r := range []refusal{
			{[]string{"put", file}, 12, `^put .*file: |disk/home`, makeRoom},
			{[]string{"config", "set", "log.level", "debug"}, 12, `disk/home/config.toml: no space left`, makeRoom},
			{[]string{"keys", "export", filepath.Join(g.dir, "disk", "out")}, 12, `disk/out: no space left`, makeRoom},
			{[]string{"get", "kept", filepath.Join(g.dir, "disk", "out")}, 12, `.`, makeRoom},
		} {
			g.refused(t, "disk/home", r)
		}
		g.refused(t, "elsewhere", refusal{[]string{"get", "kept", filepath.Join(g.dir, "disk", "out")}, 12, `disk/out: no space left`, makeRoom})
		g.refused(t, "elsewhere", refusal{[]string{"keys", "export", filepath.Join(g.dir, "disk", "out")}, 12, `disk/out: no space left`, makeRoom})
		free()
		after := (&user{mesh: g.mesh, home: filepath.Join(g.dir, "disk", "home")}).files(t)
		for _, name := range []string{"identity", "node.key", "config.toml"} {
			if before[name] != after[name] {
				t.Errorf("the full disk has changed %s", name)
			}
		}
		g.onDisk(t, "home")
		g.readsKept(t, "disk/home")
		g.readsKept(t, "elsewhere")
		g.does(t, "disk/home", "put", file)
		if o := g.does(t, "disk/home", "get", "file", "-"); !bytes.Equal(o.stdout, noisy(1, 100_000)) {
			t.Error("once there is room, a put and a get bring something else")
		}
	})
}

// onDisk checks that the guest's disk has just these.
func (g *guest) onDisk(t *testing.T, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(g.dir, "disk"))
	if err != nil || len(entries) != len(want) {
		t.Errorf("on the disk are %v, %v, want %v", entries, err, want)
	}
}

func TestServiceOnAFullDiskSaysSoAndLosesNothing(t *testing.T) {
	t.Parallel()
	guests(t, func(t *testing.T, g *guest) {
		g.disk(t)
		g.env = roomy
		small, large := g.writes(t, "small", noisy(1, 100_000)), g.writes(t, "large", noisy(2, 8<<20))
		serve := func() *task {
			t.Helper()
			cmd := g.command("disk/home", "bootstrap", "--port", "0", "--json")
			h := &herald{said: make(chan ready, 1)}
			cmd.Stdout = h
			k := start(t, cmd)
			select {
			case <-h.said:
			case <-k.ended:
				t.Fatalf("the service ended: %s", &k.stderr)
			}
			return k
		}
		stop := func(k *task) {
			t.Helper()
			k.signal(t, syscall.SIGTERM)
			if o := k.wait(t); o.code != 0 {
				t.Errorf("the service ended with %d: %s", o.code, o.stderr)
			}
		}
		k := serve()
		g.keeps(t, "disk/home")
		free := g.fill(t)
		for _, file := range []string{small, large} {
			g.refused(t, "disk/home", refusal{[]string{"put", file}, 12, `^put `, makeRoom})
		}
		g.readsKept(t, "disk/home")
		free()
		g.does(t, "disk/home", "put", small)
		stop(k)

		free = g.fill(t)
		o := g.run(t, "disk/home", "bootstrap", "--port", "0")
		checkRefused(t, o, refusal{[]string{"bootstrap"}, 12, `disk/home`, makeRoom})
		free()
		k = serve()
		g.readsKept(t, "disk/home")
		if o := g.does(t, "disk/home", "get", "small", "-"); !bytes.Equal(o.stdout, noisy(1, 100_000)) {
			t.Error("what was put after the disk was full is something else")
		}
		stop(k)
		g.onDisk(t, "home")
	})
}

func TestReadOnlyHomeIsRefusedAndLosesNothing(t *testing.T) {
	t.Parallel()
	guests(t, func(t *testing.T, g *guest) {
		g.disk(t)
		g.env = roomy
		file := g.writes(t, "file", []byte("content"))
		g.keeps(t, "disk/home")
		identity := filepath.Join(g.dir, "identity")
		g.does(t, "disk/home", "keys", "export", identity)
		disk := filepath.Join(g.dir, "disk")
		remount := func(flags uintptr) {
			t.Helper()
			if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		remount(syscall.MS_RDONLY)
		for _, args := range [][]string{{"id"}, {"list"}, {"put", file}, {"bootstrap", "--port", "0"}, {"keys", "import", identity}} {
			g.refused(t, "disk/fresh", refusal{args, 1, `disk/fresh: read-only file system$`, `--home DIR`})
		}
		for _, args := range [][]string{{"config", "init"}, {"config", "set", "log.level", "debug"}} {
			g.refused(t, "disk/fresh", refusal{args, 1, `disk/fresh: read-only file system$`, `.`})
		}
		for _, args := range [][]string{{"put", file}, {"bootstrap", "--port", "0"}} {
			g.refused(t, "disk/home", refusal{args, 1, `disk/home`, `.`})
		}
		remount(0)
		g.readsKept(t, "disk/home")
		g.onDisk(t, "home")
	})
}
