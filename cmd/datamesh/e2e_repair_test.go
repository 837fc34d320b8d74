//go:build unix

package main

import (
	"fmt"
	"testing"

	"datamesh/internal/node"
)

// unhurried makes a mesh of n members that rebuild nothing of their own accord
// while a segment can lose more.
func unhurried(t *testing.T, n int) *mesh {
	m := emptyMesh(t, "DATAMESH_REPAIR_GRACE=1h")
	m.grow(t, n)
	return m
}

// repair has a member repair, which ends with that status.
func (x *member) repair(t testing.TB, code int, flags ...string) node.Repaired {
	t.Helper()
	o := x.run(t, append([]string{"repair"}, flags...)...)
	if o.code != code {
		t.Fatalf("repair exited with %d, want %d: %s%s", o.code, code, o.stdout, o.stderr)
	}
	return document[node.Repaired](t, o.stdout)
}

// shards returns how many shards a member has.
func (x *member) shards(t testing.TB) int {
	t.Helper()
	return int(result[node.Stats](t, x.run(t, "stats")).Store.Shards)
}

// seesDead waits until a member sees so many others dead.
func (x *member) seesDead(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s sees %d dead", x.home, n), func() bool {
		return result[node.Stats](t, x.run(t, "stats")).Members.Dead == n
	})
}

const (
	repaired  = `datamesh_repaired_shards_total{cause="missing"}`
	moved     = `datamesh_repaired_bytes_total{cause="missing"}`
	spread    = `datamesh_repaired_shards_total{cause="spread"}`
	readAgain = `datamesh_repair_read_bytes_total`
	waiting   = `datamesh_repair_waiting_segments`
)

func TestRepairIsDoneWhenAskedFor(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 6)
	owner := m.user(t)
	content := map[string][]byte{}
	segments := 0
	for i := range 12 {
		name := fmt.Sprint("file ", i)
		content[name] = noisy(byte(i), 1000<<i)
		segments += owner.put(t, content[name], "--name", name).Segments
	}
	x, dead := m.members[1], m.members[5]
	if r := x.repair(t, 0); r.Segments < segments || r.Waiting+r.Shards+r.Repaired > 0 || r.DryRun {
		t.Errorf("of %d segments that are whole: got %+v", segments, r)
	}
	lost := dead.shards(t)
	kill(dead)
	x.seesDead(t, 1)
	eventually(t, "segments wait", func() bool { return x.counters(t)[waiting] > 0 })
	before := x.counters(t)
	if before[repaired]+before[readAgain] > 0 || before["datamesh_inventories_total"] == 0 {
		t.Errorf("before anybody asks: %v shards repaired, %v bytes read, %v inventories", before[repaired], before[readAgain], before["datamesh_inventories_total"])
	}

	var plan node.Repaired
	comesTrue(t, "what is lost is planned", func(t testing.TB) {
		plan = x.repair(t, 0, "--dry-run")
		if !plan.DryRun || plan.Shards != lost || len(plan.Placed) != lost || x.counters(t)[repaired] > 0 {
			t.Errorf("of %d shards that are lost: got %+v", lost, plan)
		}
	})
	done := x.repair(t, 0)
	if done.DryRun || done.Shards != lost || done.Waiting != plan.Waiting || done.Repaired != plan.Repaired || done.Bytes != plan.Bytes {
		t.Errorf("planned: %+v\ndone: %+v", plan, done)
	}
	for _, p := range done.Placed {
		if p.Cause != "missing" || p.Peer == dead.ready.PeerID {
			t.Errorf("got %+v", p)
		}
	}
	after := x.counters(t)
	if after[repaired] != float64(lost) || after[moved] != float64(done.Bytes) || after[readAgain] < after[moved] || after[waiting] != 0 {
		t.Errorf("%v shards are counted, of %v bytes, %v bytes were read, and %v segments wait", after[repaired], after[moved], after[readAgain], after[waiting])
	}
	for _, y := range m.running() {
		comesTrue(t, "nothing is planned", func(t testing.TB) {
			if r := y.repair(t, 0, "--dry-run"); r.Shards+r.Unrepaired > 0 {
				t.Errorf("of what is whole again: got %+v", r)
			}
		})
	}
	owner.heals(t, 1)
	if transfers := result[node.Transfers](t, x.run(t, "transfers")); len(transfers.Transfers) > 0 {
		t.Errorf("it is still listed: %+v", transfers)
	}
	for name, want := range content {
		if o := owner.run(t, "get", name, "-"); o.code != 0 || string(o.stdout) != string(want) {
			t.Errorf("get %s: exit status %d, %d bytes, want %d: %s", name, o.code, len(o.stdout), len(want), o.stderr)
		}
	}
	problem(t, owner.run(t, "repair"), 8)
}

// More is lost than can be repaired; it is told of, until they are back.
func TestRepairTellsWhatIsLost(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 6)
	owner := m.user(t)
	stored := owner.put(t, noisy(1, 1<<20))
	x := m.members[0]
	kill(m.members[3:]...)
	x.seesDead(t, 3)
	r := x.repair(t, 9)
	if r.Segments < stored.Segments || r.Unrepaired == 0 || len(r.Weak) != r.Unrepaired || r.Weak[0].Reason == "" {
		t.Errorf("got %+v", r)
	}
	restart(t, m.members[3:]...)
	m.settle(t)
	eventually(t, "all is whole", func() bool { return x.run(t, "repair").code == 0 })
	comesTrue(t, "all is well", func(t testing.TB) { owner.health(t, 0) })
}

func TestRepairSpreadsWhatStandsDoubled(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 3)
	owner := m.user(t)
	for i := range 4 {
		owner.put(t, noisy(byte(i), 100_000), "--name", fmt.Sprint(i))
	}
	first := m.members[0]
	var more []*member
	for range 3 {
		more = append(more, m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...))
	}
	startAll(t, more...)
	m.settle(t)
	r := first.repair(t, 0)
	if r.Repaired == 0 || r.Shards < r.Repaired {
		t.Errorf("got %+v", r)
	}
	for _, p := range r.Placed {
		if p.Cause != "spread" {
			t.Errorf("got %+v", p)
		}
	}
	if n := first.counters(t)[spread]; n != float64(r.Shards) {
		t.Errorf("%v shards are counted as spread, want %d", n, r.Shards)
	}
	owner.heals(t, 2)
}

// What health calls worse than it could be is what repair sees to, and what
// repair has done all it can for is well to health.
func TestRepairAndHealthAgree(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 6)
	owner := m.user(t)
	for i := range 5 {
		owner.put(t, noisy(byte(i), 3000<<(2*i)), "--name", fmt.Sprint(i))
	}
	agrees := func(code, survives int) {
		t.Helper()
		comesTrue(t, "repair and health agree", func(t testing.TB) {
			h := owner.health(t, code)
			unwhole := 0
			for _, o := range h.Objects {
				unwhole += o.Unwhole
				if code == 0 && (o.Survives < survives || o.Survives != o.Possible || o.Lost > 0) {
					t.Errorf("got %+v, want an object that survives %d and could not survive more", o, survives)
				}
			}
			if r := m.running()[0].repair(t, 0, "--dry-run"); r.Waiting != unwhole || (unwhole > 0) != (code == 9) {
				t.Errorf("%d segments are not whole by repair, %d by health: %+v", r.Waiting, unwhole, h)
			}
		})
	}
	agrees(0, 2)
	for dead := 1; dead <= 2; dead++ {
		kill(m.running()[1])
		for _, x := range m.running() {
			x.seesDead(t, dead)
		}
		agrees(9, 0)
		if r := m.running()[0].repair(t, 0); r.Repaired != r.Waiting || r.Unrepaired > 0 {
			t.Errorf("got %+v", r)
		}
		agrees(0, 1)
	}
}

// Anybody repairs an object of his own, in a home with a node or without one,
// and leaves others alone.
func TestRepairOfOneObject(t *testing.T) {
	t.Parallel()
	m := unhurried(t, 7)
	owner := m.user(t)
	content := noisy(1, 3<<20)
	first := owner.put(t, content, "--name", "first")
	for i := range 4 {
		owner.put(t, noisy(byte(2+i), 1<<20), "--name", fmt.Sprint("other ", i))
	}
	x := m.members[0]
	kill(m.members[6])
	for _, y := range m.running() {
		y.seesDead(t, 1)
	}
	unwhole := func() (first, others int) {
		first, others = -1, -1
		eventually(t, "health says the same twice", func() bool { // who is busy may not answer once
			o := owner.run(t, "health")
			if o.code == 5 { // it could not join in time
				return false
			}
			before, beside := first, others
			first, others = 0, 0
			for _, o := range document[node.Health](t, o.stdout).Objects {
				if o.Name == "first" {
					first += o.Unwhole
				} else {
					others += o.Unwhole
				}
			}
			return first == before && others == beside
		})
		return first, others
	}
	weak, others := unwhole()
	plan := document[node.Repaired](t, owner.run(t, "repair", "first", "--dry-run").stdout)
	if plan.Segments != first.Segments || plan.Waiting != weak || !plan.DryRun {
		t.Errorf("of %d segments of which %d are not whole: got %+v", first.Segments, weak, plan)
	}
	if n, _ := unwhole(); n != weak {
		t.Errorf("%d segments are not whole after a dry run, want %d", n, weak)
	}
	done := result[node.Repaired](t, owner.run(t, "repair", "first"))
	if done.Shards != plan.Shards || done.Repaired != weak || done.Unrepaired > 0 {
		t.Errorf("planned: %+v\ndone: %+v", plan, done)
	}
	if n, left := unwhole(); n != 0 || left != others {
		t.Errorf("%d segments of the object and %d of the others are not whole, want 0 and %d", n, left, others)
	}
	for _, o := range document[node.Health](t, owner.run(t, "health").stdout).Objects {
		if o.Unwhole == 0 {
			continue
		}
		if r := result[node.Repaired](t, owner.run(t, "repair", o.ID.String())); r.Repaired != o.Unwhole {
			t.Errorf("of %s: got %+v", o.Name, r)
		}
	}
	comesTrue(t, "all is well", func(t testing.TB) { owner.health(t, 0) })
	if r := x.repair(t, 0); r.Waiting > 0 {
		t.Errorf("to a registrar: got %+v", r)
	}
	stored := x.put(t, noisy(9, 1<<20))
	if r := x.repair(t, 0, stored.ID.String()); r.Segments != stored.Segments || r.Waiting > 0 {
		t.Errorf("of a member's own: got %+v", r)
	}
	kill(m.members[2:6]...)
	if o := owner.run(t, "repair", "first"); o.code != 5 && o.code != 9 { // its manifest cannot be read, or its content repaired
		t.Errorf("of what is lost: exit status %d: %s%s", o.code, o.stdout, o.stderr)
	}
	problem(t, owner.run(t, "repair", "none"), 4)
	restart(t, m.members[2:6]...)
	m.settle(t)
	owner.reads(t, first.ID, content)
}
