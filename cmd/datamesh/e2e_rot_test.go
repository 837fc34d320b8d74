//go:build unix

package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// A rotten shard is one of which a bit was flipped on a member's disk.
type rottenShard struct {
	at  *member
	key datamesh.ShardKey
}

// flipRow changes one bit of a shard that is a row of the index, beside the
// process that runs.
func (x *member) flipRow(t *testing.T, key datamesh.ShardKey, random *rand.Rand) {
	t.Helper()
	db := x.index(t)
	defer db.Close()
	var id int64
	var data []byte
	err := db.QueryRow(`SELECT id, data FROM shards JOIN payloads ON id = payload WHERE segment = ? AND idx = ?`, key.Segment[:], key.Index).Scan(&id, &data)
	if err == nil {
		data[random.IntN(len(data))] ^= 1 << random.IntN(8)
		_, err = db.Exec(`UPDATE payloads SET data = ? WHERE id = ?`, data, id)
	}
	if err != nil {
		t.Fatalf("%v: %v", key, err)
	}
}

// One shard of a hundred rots, of no segment more than it can lose. The holders
// find each, and each is rebuilt.
func TestOnePercentOfAllShardsRots(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "one percent of all shards of nine nodes rot")
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := healing(t, 9)
	owner := m.user(t)
	objects, segments := owner.puts(t, 0, 200)
	m.complete(t, segments)

	var all []rottenShard
	lose, rotten := map[datamesh.SegmentID]int{}, map[datamesh.SegmentID]int{} // how many of a segment can be lost, and are
	for _, x := range m.members {
		l := x.ledger(t)
		for key := range l.sizes {
			all = append(all, rottenShard{x, key})
		}
		for id, d := range l.segments {
			lose[id] = d.M
		}
	}
	slices.SortFunc(all, func(a, b rottenShard) int {
		if c := slices.Compare(a.key.Segment[:], b.key.Segment[:]); c != 0 {
			return c
		}
		return a.key.Index - b.key.Index
	})
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	flipped, rows, wanted := map[*member][]datamesh.ShardKey{}, 0, (len(all)+99)/100
	for n := 0; n < wanted; all = all[1:] {
		s := all[0]
		if rotten[s.key.Segment] == lose[s.key.Segment] {
			continue
		}
		rotten[s.key.Segment]++
		if path, ok := s.at.shardFiles(t)[s.key]; ok {
			flip(t, path)
		} else {
			s.at.flipRow(t, s.key, random)
			rows++
		}
		flipped[s.at] = append(flipped[s.at], s.key)
		n++
	}
	t.Logf("%d shards of %d segments rot, %d of them rows", wanted, segments, rows)

	for _, x := range m.members {
		o := x.run(t, "scrub")
		found := document[node.Scrubbed](t, o.stdout)
		if (o.code == 9) != (len(found.Damaged) > 0) {
			t.Errorf("%s: scrub exited with %d and found %+v", x.home, o.code, found.Damaged)
		}
		for _, d := range found.Damaged {
			if !slices.Contains(flipped[x], datamesh.ShardKey{Segment: d.Segment, Index: d.Index}) || d.Fate != node.DroppedShard {
				t.Errorf("%s: the scrub found %+v, which was not flipped", x.home, d)
			}
		}
		for _, key := range flipped[x] {
			is := func(d node.DamagedShard) bool { return d.Segment == key.Segment && d.Index == key.Index }
			if !slices.ContainsFunc(found.Damaged, is) && rotten[key.Segment] == 1 { // else the repair of another may have read it
				t.Errorf("%s: shard %v was flipped, and the scrub found %+v", x.home, key, found.Damaged)
			}
		}
	}
	m.complete(t, segments)
	owner.heals(t, 2)
	owner.readable(t, objects)
}
