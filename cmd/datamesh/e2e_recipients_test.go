//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/hash"
	"datamesh/internal/node"
)

func TestOnlyRecipientsAndTheOwnerRead(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	owner, friend, stranger, classic := m.user(t), m.user(t), m.user(t), m.user(t)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(keyFile, []byte("# created by age-keygen\n"+key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	result[node.Identity](t, classic.run(t, "keys", "import", keyFile))
	hybrid := result[node.Identity](t, friend.run(t, "id")).Recipient

	content := noisy(1, 100_000)
	for _, c := range []struct {
		name    string
		flags   []string
		readers []*user
		others  []*user
	}{
		{"the owner alone", nil, []*user{owner}, []*user{friend, classic, stranger}},
		{"a hybrid recipient", []string{"--to", hybrid}, []*user{owner, friend}, []*user{classic, stranger}},
		{"a classic recipient", []string{"--to", key.Recipient().String()}, []*user{owner, classic}, []*user{friend, stranger}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored := owner.put(t, content, c.flags...)
			if warned := strings.Contains(strings.Join(stored.Warnings, " "), "classic"); warned != (c.name == "a classic recipient") {
				t.Errorf("put warns %q", stored.Warnings)
			}
			for _, u := range c.readers {
				u.reads(t, stored.ID, content)
			}
			for _, u := range c.others {
				dir := t.TempDir()
				p := problem(t, u.run(t, "get", stored.ID.String(), filepath.Join(dir, "out")), 6)
				if p.Kind != "Decryption" {
					t.Errorf("got %+v, want Decryption", p)
				}
				if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
					t.Errorf("get left %v, %v", left, err)
				}
			}
		})
	}
}

func TestTheSameFileTwiceHasNothingInCommon(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	owner := m.user(t)
	content := bytes.Repeat([]byte("the same again, "), 20_000)
	n := datamesh.ShardLen(crypt.SealedLen(len(content)), 4)

	segments := map[datamesh.SegmentID]bool{}
	shards := map[datamesh.ShardID]bool{}
	runs := map[[16]byte]bool{}
	for round := range 2 {
		stored := owner.put(t, content, "--name", "x", "--tags", "y", "--compress", "off")
		bytesOf := m.contentShards(t, owner, stored, n)
		if len(bytesOf) != 6 {
			t.Fatalf("the stores have %d shards of %d bytes, want 6", len(bytesOf), n)
		}
		info := result[node.Info](t, owner.run(t, "info", stored.ID.String()))
		for _, segment := range info.Segments {
			if segments[segment.ID] {
				t.Errorf("segment %s is in both", segment.ID)
			}
			segments[segment.ID] = true
		}
		for _, shard := range bytesOf {
			if id := hash.Shard(shard); shards[id] {
				t.Errorf("shard %s is in both", id)
			} else {
				shards[id] = true
			}
		}
		for _, shard := range bytesOf {
			for at := 0; at+16 <= len(shard); at++ {
				run := [16]byte(shard[at:])
				if round == 0 {
					runs[run] = true
				} else if runs[run] {
					t.Fatalf("both have the run %x", run)
				}
			}
		}
	}
	if len(segments) != 4 || len(runs) < 6*n-6*16 {
		t.Errorf("looked at %d segments and %d runs", len(segments), len(runs))
	}
}

// contentShards reads the shards of n bytes of an object's content from the
// stores that hold them.
func (m *mesh) contentShards(t *testing.T, owner *user, stored node.Stored, n int) (shards [][]byte) {
	t.Helper()
	for _, segment := range contentSegments(t, owner, stored) {
		for _, x := range m.members {
			for key, path := range x.shardFiles(t) {
				if key.Segment != segment.ID {
					continue
				}
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				shards = append(shards, file[len(file)-n:]) // behind the public header
			}
		}
	}
	return shards
}
