//go:build unix

package main

import (
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// anyFile returns one of the larger shards of a member, and its file.
func (x *member) anyFile(t testing.TB) (datamesh.ShardKey, string) {
	t.Helper()
	files := x.shardFiles(t)
	for key, path := range files {
		return key, path
	}
	t.Fatalf("%s has no files", x.home)
	return datamesh.ShardKey{}, ""
}

// scrub scrubs the store of a member, which ends with that status.
func (x *member) scrub(t testing.TB, code int) node.Scrubbed {
	t.Helper()
	o := x.run(t, "scrub")
	if o.code != code {
		t.Fatalf("scrub exited with %d, want %d: %s", o.code, code, o.stderr)
	}
	return document[node.Scrubbed](t, o.stdout)
}

func TestScrubFindsADamagedShardOnce(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_LOG_FORMAT=json")
	m.grow(t, 3)
	owner := m.user(t)
	content := noisy(1, 1<<20)
	stored := owner.put(t, content, "--code", "2+4") // which can lose more without the shard, so that nobody rebuilds it soon
	x := m.members[1]
	before := x.scrub(t, 0)
	if before.Shards == 0 || before.Bytes < 2*1<<19 || len(before.Damaged) > 0 {
		t.Errorf("before: got %+v, want no damage in two files and a row", before)
	}

	key, path := x.anyFile(t)
	flip(t, path)
	found := x.scrub(t, 9)
	if found.Shards != before.Shards || found.Dropped != 1 || len(found.Damaged) != 1 {
		t.Fatalf("got %+v, want one of %d shards dropped", found, before.Shards)
	}
	if d := found.Damaged[0]; d.Segment != key.Segment || d.Index != key.Index || d.Fate != node.DroppedShard || d.Reason == "" {
		t.Errorf("got %+v, want %v dropped", d, key)
	}
	if _, there := x.shardFiles(t)[key]; there {
		t.Error("the file is still there")
	}
	if line := x.says(t, "a damaged shard was dropped", "segment", "index", "error"); line["segment"] != key.Segment.String() {
		t.Errorf("the log tells of %v, want %s", line["segment"], key.Segment)
	}
	counters := x.counters(t)
	if counters[`datamesh_damaged_shards_total{fate="dropped"}`] != 1 || counters["datamesh_scrubbed_timestamp_seconds"] == 0 ||
		counters["datamesh_scrubbed_shards_total"] < float64(before.Shards+found.Shards) {
		t.Errorf("counters: got %v", counters)
	}

	again := x.scrub(t, 0)
	if again.Shards != before.Shards-1 || len(again.Damaged) > 0 {
		t.Errorf("again: got %+v, want no damage in %d shards", again, before.Shards-1)
	}
	if transfers := result[node.Transfers](t, x.run(t, "transfers")); len(transfers.Transfers) > 0 {
		t.Errorf("it is still listed: %+v", transfers)
	}
	owner.reads(t, stored.ID, content)

	// Without the process the store is opened alone.
	kill(x)
	key, path = x.anyFile(t)
	flip(t, path)
	if alone := x.scrub(t, 9); !slices.ContainsFunc(alone.Damaged, func(d node.DamagedShard) bool { return d.Segment == key.Segment && d.Index == key.Index }) {
		t.Errorf("alone: got %+v, want %v", alone, key)
	}
}

func TestRunningNodeScrubsByItself(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_LOG_FORMAT=json", "DATAMESH_SCRUB_INTERVAL=1s")
	m.grow(t, 1)
	x := m.members[0]
	x.put(t, noisy(1, 1<<20))
	key, path := x.anyFile(t)
	flip(t, path)
	x.willSay(t, "a damaged shard was dropped")
	if line := x.says(t, "a damaged shard was dropped"); line["segment"] != key.Segment.String() || line["index"] != float64(key.Index) {
		t.Errorf("got %v, want %v", line, key)
	}
	x.willSay(t, "all shards were checked for damage")
	if n := x.counters(t)[`datamesh_damaged_shards_total{fate="dropped"}`]; n != 1 {
		t.Errorf("%v shards are counted as dropped, want 1", n)
	}
}
