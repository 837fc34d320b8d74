//go:build unix

package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"datamesh/internal/node"
)

// labelled makes a mesh of members that say on which host and site they are; ""
// is no label.
func labelled(t *testing.T, hosts, sites []string, settings ...string) *mesh {
	m := emptyMesh(t, settings...)
	for i := range hosts {
		flags := []string{"bootstrap", "--port", "0"}
		if i > 0 {
			flags = append([]string{"service", "--port", "0"}, m.door(t)...)
		}
		x := m.add(t, flags...)
		for key, label := range map[string]string{"member.host": hosts[i], "member.site": sites[i]} {
			if o := x.run(t, "config", "set", key, label); o.code != 0 {
				t.Fatalf("config set %s: %s", key, o.stderr)
			}
		}
		x.start(t)
	}
	m.settle(t)
	return m
}

func (u *user) info(t testing.TB, ref string) node.Info {
	t.Helper()
	return result[node.Info](t, u.run(t, "info", ref))
}

func (u *user) seen(t testing.TB) node.Seen {
	t.Helper()
	h := document[node.Health](t, u.run(t, "health").stdout)
	if h.Basis == nil || h.Basis.Seen == nil {
		t.Fatalf("got %+v, want what the node has seen", h.Basis)
	}
	return *h.Basis.Seen
}

func TestInfoSaysHowSafeAnObjectIs(t *testing.T) {
	t.Parallel()
	m := labelled(t, []string{"a", "a", "b", "b", "c", "c"}, []string{"x", "x", "x", "y", "y", ""},
		"DATAMESH_REPAIR_GRACE=2s", "DATAMESH_REPAIR_INTERVAL=20s", "DATAMESH_AUDIT_INTERVAL=1s")
	x, owner := m.members[0], m.user(t)
	x.put(t, noisy(1, 1<<20), "--name", "mine")
	owner.put(t, noisy(2, 1<<20), "--name", "theirs")
	var info node.Info
	comesTrue(t, "the object survives what it can", func(t testing.TB) {
		info = x.info(t, "mine")
		if s := info.Safety; info.Survives != 2 || s.Hosts != (node.DomainSafety{Known: true, Survives: 1, Domains: 3}) || s.Sites != (node.DomainSafety{Known: true, Domains: 2, Unlabelled: 1}) {
			t.Errorf("survives %d peers; got %+v", info.Survives, s)
		}
	})
	s := info.Safety
	if b := info.Basis; b.MemberLossFrom != node.FromAssumed || b.RepairFrom != node.FromAssumed || b.Seen == nil {
		t.Errorf("got %+v, want what is assumed", b)
	}
	// Three of the shards are on one site, which alone is lost one year in a thousand.
	if s.Modelled < 2 || s.Modelled > 3 || s.Demonstrated < 0 || s.Demonstrated > 1 {
		t.Errorf("got %v nines modelled and %v demonstrated", s.Modelled, s.Demonstrated)
	}
	for _, u := range []*user{&x.user, owner} {
		eventually(t, "all shards are proven", func() bool {
			h := document[node.Health](t, u.run(t, "health").stdout)
			if h.Least == nil || h.Least.Shards.Live < 9 {
				return false // who is busy does not answer
			}
			n := h.Least.Shards
			if n.Live != 9 || n.Total != 9 || n.Proven > n.Live || (n.OldestProof.IsZero()) != (n.Proven < n.Live) {
				t.Fatalf("got %+v", n)
			}
			return n.Proven == n.Live
		})
	}
	proven := 0
	for _, segment := range x.info(t, "mine").Segments {
		for _, shard := range segment.Shards {
			if !shard.LastProof.IsZero() {
				proven++
			}
			if shard.LastProof.After(time.Now()) {
				t.Errorf("shard %d was proven at %v", shard.Index, shard.LastProof)
			}
		}
	}
	if proven == 0 {
		t.Error("no shard was proven")
	}
	if h := document[node.Health](t, owner.run(t, "health").stdout); h.Basis.Seen != nil || h.Basis.DemonstratedFrom != node.FromObjects || h.Basis.Years <= 0 {
		t.Errorf("of a home without a node: got %+v", h.Basis)
	}

	dead := m.members[4:]
	kill(dead...)
	owner.heals(t, 1)
	repairs := 0
	for _, y := range m.running() {
		y.seesDead(t, 2)
		eventually(t, y.home+" counts two losses", func() bool { return y.seen(t).Losses == 2 })
		n := y.seen(t)
		repairs += n.Repairs
		if n.Repairs > 0 && n.RepairHours < 6./3600 { // of the detection alone, with ring.probe of a second
			t.Errorf("%s has seen %+v", y.home, n)
		}
	}
	if repairs == 0 {
		t.Error("nobody has seen a repair")
	}
	before := x.seen(t)
	x.task.signal(t, syscall.SIGTERM)
	<-x.task.ended
	restart(t, x)
	m.settle(t)
	eventually(t, "the two are still lost", func() bool { return x.seen(t).Losses == 2 })
	after := x.seen(t)
	if !after.Since.Equal(before.Since) || after.Repairs < before.Repairs || after.MemberYears < before.MemberYears || after.MemberYears == 0 {
		t.Errorf("before the restart: %+v\nafter: %+v", before, after)
	}
	restart(t, dead...)
	m.settle(t)
	eventually(t, "those that are back are no losses", func() bool { return x.seen(t).Losses == 0 })
	if o := x.run(t, "info", fmt.Sprint(info.ID)); o.code != 0 {
		t.Errorf("info exited with %d: %s", o.code, o.stderr)
	}
}

// A holder that says it has a shard is believed until it is to prove that.
func TestInfoHasShardsProven(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_REPAIR_GRACE=1h")
	m.grow(t, 6)
	owner := m.user(t)
	owner.put(t, noisy(1, 1<<20), "--name", "file")
	comesTrue(t, "all shards are there", func(t testing.TB) {
		if s := owner.info(t, "file").Safety.Shards; s.Live != 9 || !s.OldestProof.IsZero() {
			t.Errorf("got %+v, want shards of which some were never proven", s)
		}
	})
	began := time.Now()
	eventually(t, "all shards are proven", func() bool {
		s := result[node.Info](t, owner.run(t, "info", "file", "--prove")).Safety.Shards
		return s.Live == 9 && s.Proven == 9 && !s.OldestProof.Before(began.Truncate(time.Second))
	})
	_, path := m.members[1].anyFile(t)
	rot(t, path)
	comesTrue(t, "the holder is believed", func(t testing.TB) {
		if s := owner.info(t, "file"); s.Safety.Shards.Live != 9 || s.Survives != 2 {
			t.Errorf("got %+v, want what the holder says", s.Safety)
		}
	})
	eventually(t, "a proof hits what has rotted", func() bool {
		s := result[node.Info](t, owner.run(t, "info", "file", "--prove"))
		return s.Safety.Shards.Live == 8 && s.Survives == 1
	})
}
