//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"datamesh"
	"datamesh/internal/node"
)

// counters returns what metrics says of a member, by series.
func (x *member) counters(t testing.TB) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, s := range result[node.Metrics](t, x.run(t, "metrics")).Metrics {
		all[s.Series()] = s.Value
	}
	return all
}

// moves runs do and checks by how much it moves what is counted.
func (x *member) moves(t testing.TB, do func(), want map[string]float64) {
	t.Helper()
	before := x.counters(t)
	do()
	after := x.counters(t)
	for series, by := range want {
		if got := after[series] - before[series]; got != by {
			t.Errorf("%s moved by %v, want %v", series, got, by)
		}
	}
	comesTrue(t, "metrics and stats agree", func(t testing.TB) { // once nothing changes between the two
		all, stats := x.counters(t), result[node.Stats](t, x.run(t, "stats"))
		for series, want := range map[string]float64{
			"datamesh_catalog_objects":        float64(stats.Catalog.Objects),
			"datamesh_catalog_bytes":          float64(stats.Catalog.Bytes),
			"datamesh_store_shards":           float64(stats.Store.Shards),
			"datamesh_store_used_bytes":       float64(stats.Store.Used),
			`datamesh_members{state="alive"}`: float64(stats.Members.Alive),
			`datamesh_members{state="dead"}`:  float64(stats.Members.Dead),
		} {
			if all[series] != want {
				t.Errorf("%s is %v, by stats it is %v", series, all[series], want)
			}
		}
	})
}

const (
	localPuts    = `datamesh_shard_operations_total{operation="put",result="ok",store="local"}`
	localRefused = `datamesh_shard_operations_total{operation="put",result="Full",store="local"}`
	localDamaged = `datamesh_shard_operations_total{operation="get",result="Integrity",store="local"}`
	localDrops   = `datamesh_shard_operations_total{operation="drop",result="ok",store="local"}`
	badShards    = `datamesh_bad_shards_total{reason="Integrity"}`
	putsDone     = `datamesh_object_operations_total{operation="put",result="ok"}`
	putsRefused  = `datamesh_object_operations_total{operation="put",result="Full"}`
	getsDone     = `datamesh_object_operations_total{operation="get",result="ok"}`
	getsMissed   = `datamesh_object_operations_total{operation="get",result="FileNotFound"}`
	bytesPut     = `datamesh_object_bytes_total{operation="put"}`
	bytesGot     = `datamesh_object_bytes_total{operation="get"}`
	dead         = `datamesh_members{state="dead"}`
)

// line returns the first line of a member's log with the message, and with
// the keys, or nil.
func (x *member) line(t testing.TB, message string, keys ...string) map[string]any {
	t.Helper()
	log, err := os.ReadFile(x.log())
	if err != nil {
		t.Fatal(err)
	}
	for text := range bytes.Lines(log) {
		var line map[string]any
		if !bytes.HasSuffix(text, []byte("\n")) { // is being written
			break
		}
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatalf("%s: %v in %q", x.log(), err, text)
		}
		if line["msg"] != message {
			continue
		}
		for _, key := range append(keys, "time", "level") {
			if line[key] == nil || line[key] == "" {
				t.Errorf("log: %q has no %s: %s", message, key, text)
			}
		}
		return line
	}
	return nil
}

// says checks that a member's log has a line.
func (x *member) says(t testing.TB, message string, keys ...string) map[string]any {
	t.Helper()
	line := x.line(t, message, keys...)
	if line == nil {
		t.Errorf("the log of %s does not say %q", x.home, message)
	}
	return line
}

func (x *member) willSay(t testing.TB, message string) {
	t.Helper()
	eventually(t, "the log says: "+message, func() bool { return x.line(t, message) != nil })
}

func TestCountersAndLogsMoveAsOperationsDo(t *testing.T) {
	t.Parallel()
	const secret = "plaintext-of-a-name"
	m := emptyMesh(t, "DATAMESH_LOG_FORMAT=json")
	m.grow(t, 6)
	x, last := m.members[0], m.members[5]
	line := x.says(t, "the node serves", "version", "peer", "mesh", "addresses", "capacity")
	if line["version"] != version || line["peer"] != x.ready.PeerID.String() || line["mesh"] != x.ready.Mesh.String() {
		t.Errorf("the node serves: got %v", line)
	}
	x.says(t, "a member joined", "peer", "live", "members")

	content := noisy(1, 1<<20)
	var stored node.Stored
	x.moves(t, func() { stored = x.put(t, content, "--name", secret) },
		map[string]float64{putsDone: 1, bytesPut: 1 << 20, "datamesh_catalog_objects": 1})
	taken := 0.0
	for _, y := range m.members {
		c := y.counters(t)
		taken += c[localPuts]
		if c[`datamesh_shard_bytes_total{operation="put",store="local"}`] == 0 || c["datamesh_store_shards"] == 0 {
			t.Errorf("%s has counted no bytes, or has no shards", y.home)
		}
	}
	if taken != float64(stored.Shards) {
		t.Errorf("all members have taken %v shards, want %d", taken, stored.Shards)
	}
	if line := x.says(t, "an object was put", "object", "bytes", "shards", "peers", "survives", "seconds"); line["object"] != stored.ID.String() {
		t.Errorf("an object was put: got %v, want %s", line, stored.ID)
	}

	x.moves(t, func() { x.reads(t, stored.ID, content) }, map[string]float64{getsDone: 1, bytesGot: 1 << 20, putsDone: 0})
	x.says(t, "an object was got", "object", "bytes", "seconds")
	x.moves(t, func() { problem(t, x.run(t, "get", secret+"-unknown"), 4) }, map[string]float64{getsDone: 0, getsMissed: 1})
	x.says(t, "a get failed", "kind", "seconds")

	holder, damaged := damageOne(t, m, x, stored)
	before := holder.counters(t)[localDamaged]
	eventually(t, "a damaged shard is counted, by its holder and by its reader", func() bool { // when the holder is asked: on a busy machine it may be late
		found := x.counters(t)[badShards]
		fetched := x.reads(t, stored.ID, content)
		return len(fetched.Bad) > 0 && x.counters(t)[badShards] > found && holder.counters(t)[localDamaged] > before
	})
	line = holder.says(t, "a shard in the store is damaged: check the disk", "segment", "index", "error")
	if line["segment"] != damaged.Segment.String() || line["index"] != float64(damaged.Index) {
		t.Errorf("a damaged shard: got %v, want %v", line, damaged)
	}
	x.says(t, "a peer serves a damaged shard", "peer", "segment", "index")

	files := holder.counters(t)[localDrops]
	put, more := half(t, &x.user)
	interrupt(t, put)
	put.wait(t)
	more.Close()
	eventually(t, "a drop is counted", func() bool { return holder.counters(t)[localDrops] > files })
	x.willSay(t, "a put failed")

	silent(t, x, stored.ID, content)

	calls := `datamesh_ring_calls_total{result="failed"}`
	failed := x.counters(t)[calls]
	kill(last)
	eventually(t, "a death is counted", func() bool { return x.counters(t)[dead] == 1 })
	if x.counters(t)[calls] <= failed {
		t.Error("no failed question to a dead member was counted")
	}
	x.moves(t, func() {}, map[string]float64{dead: 0})
	x.willSay(t, "a member does not answer")
	x.willSay(t, "a member is dead")
	restart(t, last)
	eventually(t, "a return is counted", func() bool { return x.counters(t)[dead] == 0 })
	x.willSay(t, "a member is back")
	x.says(t, "a member is back", "peer", "live", "members")

	for _, y := range m.members {
		y.task.signal(t, syscall.SIGTERM)
		y.task.wait(t)
		y.says(t, "the node shuts down", "uptime_seconds")
		y.says(t, "the node has ended")
		log, err := os.ReadFile(y.log())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(log), secret) || strings.Contains(string(log), "half") {
			t.Errorf("the log of %s has the name of an object: %s", y.home, log)
		}
	}
}

// damageOne changes a data shard of an object that another than x holds.
func damageOne(t *testing.T, m *mesh, x *member, stored node.Stored) (holder *member, key datamesh.ShardKey) {
	t.Helper()
	segment := contentSegments(t, &x.user, stored)[0]
	for _, shard := range segment.Shards {
		if shard.Peer != x.ready.PeerID {
			holder, key = m.byID(t, shard.Peer), datamesh.ShardKey{Segment: segment.ID, Index: shard.Index}
			flip(t, holder.shardFiles(t)[key])
			return holder, key
		}
	}
	t.Fatal("one member has all shards")
	return nil, key
}

// silent checks that a get which has to ask another peer counts that. Not all peers are
// asked for shards, so one after the other is stopped.
func silent(t *testing.T, x *member, id datamesh.ObjectID, content []byte) {
	t.Helper()
	const late = "datamesh_late_shards_total"
	before := x.counters(t)[late]
	for range 3 {
		for _, y := range x.mesh.members {
			if y == x {
				continue
			}
			y.pause(t)
			x.reads(t, id, content)
			y.task.signal(t, syscall.SIGCONT)
			x.mesh.settle(t)
			if x.counters(t)[late] > before {
				return
			}
		}
	}
	t.Error("no late shard was counted")
}

func TestFullStoreIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_LOG_FORMAT=json", "DATAMESH_STORE_CAPACITY=8MiB", "DATAMESH_STORE_RESERVE=1MiB")
	m.grow(t, 1)
	x := m.members[0]
	x.moves(t, func() { problem(t, x.run(t, "put", noiseFile(t, "x", 1, 16<<20)), 12) },
		map[string]float64{putsRefused: 1, putsDone: 0, "datamesh_catalog_objects": 0, bytesPut: 0})
	if x.counters(t)[localRefused] == 0 {
		t.Error("no refused put was counted")
	}
	x.says(t, "the store is full: it refuses shards until there is room", "segment", "index", "bytes", "error")
	x.says(t, "a put failed", "kind", "error")
}

func TestMetricsAreTextAndWatched(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	x := m.members[0]
	text := x.command("metrics")
	text.Args = append(text.Args[:1:1], text.Args[2:]...) // without --json
	o := start(t, text).wait(t)
	for _, want := range []string{"# TYPE datamesh_members gauge\n", "datamesh_members{state=\"alive\"} 1\n", "# TYPE go_goroutines gauge\n",
		"# TYPE datamesh_object_operation_seconds histogram\n", "datamesh_object_operation_seconds_bucket{operation=\"put\",le=\"+Inf\"} 0\n"} {
		if !strings.Contains(string(o.stdout), want) {
			t.Errorf("metrics: got no %q in %s", want, o.stdout)
		}
	}
	if o.code != 0 || len(o.stderr) > 0 {
		t.Errorf("metrics exited with %d: %s", o.code, o.stderr)
	}

	looks := filepath.Join(t.TempDir(), "looks")
	out, err := os.Create(looks)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := x.command("metrics", "--watch", "1")
	cmd.Stdout = out
	watch := start(t, cmd)
	eventually(t, "a first look", func() bool { return len(readLooks(t, looks)) > 0 })
	x.put(t, noisy(1, 1000))
	eventually(t, "a look that tells of the put", func() bool {
		return slices.ContainsFunc(readLooks(t, looks), func(l look) bool {
			return l.Seconds > 0 && slices.ContainsFunc(l.Changes, func(c change) bool {
				return c.Name == "datamesh_object_operations_total" && c.Labels["operation"] == "put" && c.Value == 1 && c.Change == 1 && c.PerSecond > 0
			})
		})
	})
	watch.signal(t, os.Interrupt)
	if o := watch.wait(t); o.code != 0 || len(o.stderr) > 0 {
		t.Errorf("a watch that is interrupted exited with %d: %s", o.code, o.stderr)
	}

	again := start(t, x.command("metrics", "--watch=1"))
	kill(x)
	if o := again.wait(t); o.code != 8 {
		t.Errorf("a watch of a node that is gone exited with %d: %s", o.code, o.stderr)
	}
}

// readLooks returns what a watch has written to a file so far.
func readLooks(t *testing.T, file string) (all []look) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for text := range bytes.Lines(b) {
		var l look
		if !bytes.HasSuffix(text, []byte("\n")) { // is being written
			break
		}
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		all = append(all, l)
	}
	return all
}
