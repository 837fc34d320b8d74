//go:build unix

package main

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// shardFiles returns the files in the member's store by what they are called.
// Shards of at most 64 KiB are not among them.
func (x *member) shardFiles(t testing.TB) map[datamesh.ShardKey]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(x.home, "store", "shards", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	shards := map[datamesh.ShardKey]string{}
	for _, path := range files {
		segment, index, _ := strings.Cut(filepath.Base(path), "-")
		var key datamesh.ShardKey
		if _, err := hex.Decode(key.Segment[:], []byte(segment)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if key.Index, err = strconv.Atoi(index); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		shards[key] = path
	}
	return shards
}

// allocated returns the bytes of the disk that the homes of all members take.
func (m *mesh) allocated(t testing.TB) (n int64) {
	t.Helper()
	for _, x := range m.members {
		walk(t, x.home, func(_ string, info fs.FileInfo) error {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
			return nil
		})
	}
	return n
}

// walk visits all there is in a home. Files of a process that runs may go
// meanwhile.
func walk(t testing.TB, home string, visit func(path string, info fs.FileInfo) error) {
	t.Helper()
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if err == nil {
			err = visit(path, info)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSixShardsLieOnSixPeers(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	stored := owner.put(t, noisy(1, 20<<20))
	if stored.Segments != 3 || stored.Shards != 3+6+6 || stored.Peers != 6 || stored.Survives != 2 {
		t.Errorf("put: got %+v, want a manifest of 3 shards and 2 segments of 6", stored)
	}

	holders := map[datamesh.ShardKey]datamesh.PeerID{} // as their stores have it
	for _, x := range m.members {
		if n := len(x.shardFiles(t)); n != 2 {
			t.Errorf("%s holds %d files, want one shard of each segment", x.home, n)
		}
		for key := range x.shardFiles(t) {
			holders[key] = x.ready.PeerID
		}
	}
	if len(holders) != 12 {
		t.Errorf("the stores have %d different shards, want 12", len(holders))
	}

	comesTrue(t, "info says where they are", func(t testing.TB) {
		info := result[node.Info](t, owner.run(t, "info", stored.ID.String()))
		if info.Survives != 2 || len(info.Segments) != 3 || len(info.Segments[0].Shards) != 3 {
			t.Fatalf("info: got %+v", info)
		}
		for _, segment := range info.Segments[1:] {
			if len(segment.Shards) != 6 {
				t.Errorf("info: %s has %d shards, want 6", segment.ID, len(segment.Shards))
			}
			for _, shard := range segment.Shards {
				if got := holders[datamesh.ShardKey{Segment: segment.ID, Index: shard.Index}]; got != shard.Peer || !shard.Live {
					t.Errorf("info: shard %d of %s, live %v, is with %s; the stores say %s", shard.Index, segment.ID, shard.Live, shard.Peer, got)
				}
			}
		}
	})
}

func TestDisksGrowByLittleMoreThanTheCode(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	for i, size := range []int64{1 << 20, 1<<20 + 1, 5 << 20, 33 << 20} {
		before := m.allocated(t)
		owner.put(t, noisy(byte(i), size))
		grown := m.allocated(t) - before
		t.Logf("%d bytes take %d: %.3f times", size, grown, float64(grown)/float64(size))
		if grown < size || float64(grown) > 1.6*float64(size) {
			t.Errorf("%d bytes take %d", size, grown)
		}
	}
}
