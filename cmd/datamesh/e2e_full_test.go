//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"datamesh/internal/node"
)

func TestTwoGiBRoundTripInLittleMemory(t *testing.T) {
	const (
		size = 2 << 30
		disk = 8 << 30 // for the shards of two objects, and a moment's more
	)
	if os.Getenv("TEST_DATAMESH_FULL") != "1" {
		t.Skip("NOT TESTED: 2 GiB in at most 256 MiB of memory: set TEST_DATAMESH_FULL=1; it takes minutes and 8 GiB of disk")
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &fs); err != nil {
		t.Fatal(err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < disk {
		t.Fatalf("%s has %d bytes free, want %d", os.TempDir(), free, int64(disk))
	}
	m := newMesh(t, 6)
	client := m.user(t)
	for _, c := range []struct {
		name          string
		owner, reader *user
		byName        bool // and to standard output, else by id and into a file
	}{
		{"by commands", client, client.elsewhere(t), false},
		{"through a service", &m.members[2].user, &m.members[2].user, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			put := c.owner.command("put", "-", "--name", c.name)
			sent := sha256.New()
			put.Stdin = io.TeeReader(noise(1, size), sent)
			stored := result[node.Stored](t, inLittleMemory(t, put))
			if stored.Size != size || stored.Survives < 1 {
				t.Errorf("put: got %+v", stored)
			}
			var got []byte
			if c.byName {
				sum := sha256.New()
				get := c.reader.command("get", c.name, "-")
				get.Stdout = sum
				if o := inLittleMemory(t, get); o.code != 0 {
					t.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
				}
				got = sum.Sum(nil)
			} else {
				out := filepath.Join(t.TempDir(), "out")
				result[node.Fetched](t, inLittleMemory(t, c.reader.command("get", stored.ID.String(), out)))
				got = hashFile(t, out)
			}
			if !bytes.Equal(got, sent.Sum(nil)) {
				t.Error("other bytes came back")
			}
		})
	}
	for _, x := range m.members {
		peak, err := peakMemory(x.task.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		checkMemory(t, x.home, peak)
	}
}

// inLittleMemory runs a command and checks how much memory it used.
func inLittleMemory(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	k := start(t, cmd)
	peak := watchMemory(k)
	o := k.wait(t)
	checkMemory(t, cmd.Args[4], <-peak) // behind --json --home DIR
	return o
}

func checkMemory(t *testing.T, who string, peak int64) {
	t.Helper()
	t.Logf("%s used at most %d MiB", who, peak>>20)
	if peak == 0 || peak > 256<<20 {
		t.Errorf("%s used %d MiB, want 256 at most", who, peak>>20)
	}
}

func hashFile(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return sum.Sum(nil)
}
