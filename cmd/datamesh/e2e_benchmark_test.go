//go:build unix

package main

import (
	"strings"
	"testing"

	"datamesh/internal/benchmark"
	"datamesh/internal/node"
)

func TestBenchmarkOfAMeshLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	keeper, content := m.user(t), noisy(1, 1<<20)
	kept := keeper.put(t, content)
	before := m.shards(t)
	for name, u := range map[string]*user{"service": &m.members[1].user, "client": m.user(t)} {
		t.Run(name, func(t *testing.T) {
			r := result[benchmark.Result](t, u.run(t, "benchmark", "--size", "4KiB,1MiB", "--count", "6", "--in-flight", "4"))
			if len(r.Sizes) != 2 || r.InFlight != 4 || len(r.Left) > 0 || len(r.Warnings) > 0 || r.Swept != 0 {
				t.Errorf("got %+v", r)
			}
			for _, s := range r.Sizes {
				if s.Put.Operations != 6 || s.Get.Operations != 6 || s.Put.Failures+s.Get.Failures > 0 || s.Put.Latency.P50 == nil || s.Get.FirstByte.P50 == nil || s.Put.Latency.P95 != nil {
					t.Errorf("got %+v", s)
				}
			}
			u.cleansUp(t, before)

			running := start(t, u.command("benchmark", "--size", "1MiB", "--count", "5000", "--in-flight", "4"))
			m.growsBeyond(t, before)
			if p := problem(t, u.run(t, "benchmark"), 11); p.Kind != "Locked" || !strings.Contains(p.Error, "another benchmark") {
				t.Errorf("a second one: got %+v", p)
			}
			interrupt(t, running)
			if o := running.wait(t); o.code != 130 || len(o.stdout) > 0 || strings.Contains(string(o.stderr), "not deleted") {
				t.Errorf("interrupted: exited with %d, and printed %q: %s", o.code, o.stdout, o.stderr)
			}
			u.cleansUp(t, before)

			running = start(t, u.command("benchmark", "--size", "1MiB", "--count", "5000", "--in-flight", "4"))
			eventually(t, "an object of it is listed", func() bool {
				return len(result[node.List](t, u.run(t, "list", benchmark.Prefix)).Objects) > 0
			})
			running.kill()
			left := len(result[node.List](t, u.run(t, "list", benchmark.Prefix)).Objects)
			r = result[benchmark.Result](t, u.run(t, "benchmark", "--size", "1", "--count", "1"))
			if left == 0 || r.Swept < left || len(r.Left) > 0 { // a put that was under way may have ended since
				t.Errorf("%d were left behind; the next one: got %+v", left, r)
			}
			u.cleansUp(t, before)
			if gone := result[node.DeletedObjects](t, u.run(t, "list", "--deleted")); len(gone.Objects) > 0 {
				t.Errorf("in the list of deletions: %+v", gone)
			}
		})
	}
	keeper.reads(t, kept.ID, content)
}

// growsBeyond waits until the members have more than so many shards.
func (m *mesh) growsBeyond(t *testing.T, before int) {
	t.Helper()
	eventually(t, "more shards are stored", func() bool { return m.shards(t) > before })
}
