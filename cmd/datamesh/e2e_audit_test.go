//go:build unix

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"datamesh/internal/node"
)

// audits has a member audit another, which ends with that status.
func (x *member) audits(t testing.TB, code int, other *member, flags ...string) node.Audited {
	t.Helper()
	o := x.run(t, append([]string{"audit", other.ready.PeerID.String()}, flags...)...)
	if o.code != code {
		t.Fatalf("audit exited with %d, want %d: %s", o.code, code, o.stderr)
	}
	return document[node.Audited](t, o.stdout)
}

func TestAuditNamesADamagedShard(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t, "DATAMESH_LOG_FORMAT=json")
	m.grow(t, 3)
	owner := m.user(t)
	content := noisy(1, 1<<20)
	stored := owner.put(t, content, "--code", "2+4") // which can lose more without the shard, so that nobody rebuilds it soon
	registrar, x := m.members[0], m.members[1]
	all := x.shards(t)
	whole := registrar.audits(t, 0, x)
	if whole.PeerID != x.ready.PeerID || whole.Shards != all || whole.Proofs != all || len(whole.Failures)+whole.Silences > 0 || !whole.LastProof.IsZero() {
		t.Errorf("got %+v, want %d proofs, and none before", whole, all)
	}
	if one := registrar.audits(t, 0, x, "--count", "1"); one.Shards != 1 || one.LastProof.IsZero() || !one.LastFailure.IsZero() {
		t.Errorf("got %+v, want one shard, and a proof before", one)
	}

	key, path := x.anyFile(t)
	rot(t, path)
	var found node.Audited
	eventually(t, "an audit hits what has rotted", func() bool {
		o := registrar.run(t, "audit", x.ready.PeerID.String())
		found = document[node.Audited](t, o.stdout)
		if (o.code == 9) != (len(found.Failures) > 0) {
			t.Fatalf("audit exited with %d and %+v", o.code, found)
		}
		return o.code == 9
	})
	if f := found.Failures[0]; len(found.Failures) != 1 || f.Segment != key.Segment || f.Index != key.Index || f.Reason == "" {
		t.Errorf("got %+v, want %v", found, key)
	}
	line := registrar.says(t, "a peer could not prove a shard", "peer", "segment", "index", "error")
	if line["peer"] != x.ready.PeerID.String() || line["segment"] != key.Segment.String() || line["index"] != float64(key.Index) {
		t.Errorf("the log tells of %v, want %v", line, key)
	}
	counters := registrar.counters(t)
	if counters["datamesh_audit_failures_total"] != 1 || counters["datamesh_audit_proofs_total"] < float64(2*all) || counters["datamesh_audit_silences_total"] != 0 {
		t.Errorf("counters: got %v", counters)
	}
	if after := registrar.audits(t, 0, x); after.Shards != all-1 || after.LastFailure.IsZero() {
		t.Errorf("after: got %+v, want %d shards, and a failure before", after, all-1)
	}
	owner.reads(t, stored.ID, content)

	if o := registrar.run(t, "audit", registrar.ready.PeerID.String()); o.code != 2 {
		t.Errorf("of itself: exit status %d: %s", o.code, o.stderr)
	}
	if o := registrar.run(t, "audit", "12D3KooWFA12p4eY7kF3VLeKJwwaRFFTDKNrvR9zyvNMyoYBbbYv"); o.code != 4 {
		t.Errorf("of a stranger: exit status %d: %s", o.code, o.stderr)
	}
	kill(x)
	if silent := registrar.audits(t, 5, x); silent.Shards == 0 || silent.Silences != silent.Shards {
		t.Errorf("of one that is away: got %+v", silent)
	}
}

// What has rotted is found by others and rebuilt, though its holder has not
// looked at it and nobody has asked.
func TestMeshFindsAndRebuildsWhatHasRotted(t *testing.T) {
	t.Parallel()
	m := healing(t, 3, "DATAMESH_AUDIT_INTERVAL=1s", "DATAMESH_LOG_FORMAT=json")
	owner := m.user(t)
	content := noisy(1, 1<<20)
	stored := owner.put(t, content)
	m.wholes(t, stored.Shards)
	x := m.members[1]
	key, path := x.anyFile(t)
	rot(t, path)
	eventually(t, "others find the damage", func() bool {
		for _, other := range m.members {
			log, err := os.ReadFile(other.log())
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, "a peer could not prove a shard") && strings.Contains(line, key.Segment.String()) &&
					strings.Contains(line, fmt.Sprintf(`"index":%d`, key.Index)) {
					return true
				}
			}
		}
		return false
	})
	eventually(t, "the shard is there again", func() bool {
		for _, other := range m.members {
			for had, path := range other.shardFiles(t) {
				if b, err := os.ReadFile(path); had == key && err == nil && !rotted(b) {
					return true
				}
			}
		}
		return false
	})
	owner.heals(t, 1)
	owner.reads(t, stored.ID, content)
}

// rot overwrites the middle half of a file.
func rot(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[len(b)/4 : len(b)*3/4])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func rotted(b []byte) bool {
	for _, x := range b[len(b)/4 : len(b)*3/4] {
		if x != 0 {
			return false
		}
	}
	return true
}
