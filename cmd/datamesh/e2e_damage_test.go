//go:build unix

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/node"
)

func TestDamagedShardsAreMadeGoodAndNamed(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	other := contentSegments(t, owner, owner.put(t, noisy(0, 1<<20)))[0].ID
	for _, damage := range []struct {
		name string
		do   func(t *testing.T, shard, another string)
	}{
		{"flipped", func(t *testing.T, shard, _ string) { flip(t, shard) }},
		{"truncated", func(t *testing.T, shard, _ string) { truncate(t, shard) }},
		{"swapped", swap},
		{"deleted", func(t *testing.T, shard, _ string) { remove(t, shard) }},
	} {
		for lost := 1; lost <= 2; lost++ {
			well := t.Run(fmt.Sprintf("%d %s", lost, damage.name), func(t *testing.T) {
				content := noisy(1, 1<<20)
				stored := owner.put(t, content)
				segment := contentSegments(t, owner, stored)[0]
				bad := segment.Shards[:lost] // of data, so that a get asks for them
				for _, shard := range bad {
					files := m.byID(t, shard.Peer).shardFiles(t)
					var another string
					for key, path := range files {
						if key.Segment == other {
							another = path
						}
					}
					damage.do(t, files[datamesh.ShardKey{Segment: segment.ID, Index: shard.Index}], another)
				}
				untilFound(t, owner, stored, content, func(found node.BadShard, i int) bool {
					return found.Segment == segment.ID && found.Index == bad[i].Index && found.Peer == bad[i].Peer
				}, lost)
			})
			if !well { // the others would wait for as long
				return
			}
		}
	}
}

func TestSilentPeersArePassedBy(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	content := noisy(1, 1<<20)
	stored := owner.put(t, content)
	for _, shard := range contentSegments(t, owner, stored)[0].Shards[:2] {
		m.byID(t, shard.Peer).pause(t)
		owner.reads(t, stored.ID, content)
	}
}

// contentSegments returns where the segments of an object are, without the
// manifest's.
func contentSegments(t *testing.T, u *user, stored node.Stored) []node.SegmentInfo {
	t.Helper()
	info := result[node.Info](t, u.run(t, "info", stored.ID.String()))
	if len(info.Segments) != stored.Segments {
		t.Fatalf("info: got %d segments, want %d", len(info.Segments), stored.Segments)
	}
	return info.Segments[1:]
}

// untilFound gets an object until so many bad things are found; is tells
// whether what was found is the i-th of them. The first get should do it, but
// one that is served fast enough by others may never hear of all of them. Each get
// must bring the content.
func untilFound(t *testing.T, u *user, stored node.Stored, content []byte, is func(found node.BadShard, i int) bool, bad int) {
	t.Helper()
	found := map[int]node.BadShard{}
	eventuallyIn(t, 2*time.Minute, fmt.Sprintf("%d bad things are found", bad), func() bool {
		for _, b := range u.reads(t, stored.ID, content).Bad {
			for i := range bad {
				if is(b, i) && b.Reason != "" && !strings.Contains(b.Reason, "silent for") { // as who is busy may be
					found[i] = b
				}
			}
		}
		return len(found) == bad
	})
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	aside := a + ".aside"
	for _, move := range [][2]string{{a, aside}, {b, a}, {aside, b}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
}
