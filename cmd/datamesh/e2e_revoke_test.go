//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/node"
)

// ofRevocation tells the steps of a revocation, at which
// TestPowerCutAtEachStepOfARevocation cuts.
func ofRevocation(step string) bool { return strings.HasPrefix(step, "node: revoke: ") }

// segmentsNamed returns the segments of an object.
func (u *user) segmentsNamed(t testing.TB, ref string) (ids []datamesh.SegmentID) {
	t.Helper()
	for _, s := range u.info(t, ref).Segments {
		ids = append(ids, s.ID)
	}
	return ids
}

// gone waits until no member holds anything of segments, and, once the trash is
// empty, has any of it on its disk.
func (m *mesh) gone(t testing.TB, segments []datamesh.SegmentID) {
	t.Helper()
	eventually(t, "the segments are gone on each member", func() bool {
		for _, x := range m.running() {
			l := x.ledger(t)
			for _, shards := range []map[datamesh.ShardKey]int64{l.sizes, l.trash} {
				for key := range shards {
					if slices.Contains(segments, key.Segment) {
						return false
					}
				}
			}
			for key := range x.shardFiles(t) {
				if slices.Contains(segments, key.Segment) {
					return false
				}
			}
		}
		return true
	})
}

// got checks that a get of each of refs writes the content.
func (u *user) got(t testing.TB, content []byte, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		if o := u.run(t, "get", ref, "-"); o.code != 0 || !bytes.Equal(o.stdout, content) {
			t.Errorf("get %s: exit status %d, %d bytes: %s", ref, o.code, len(o.stdout), o.stderr)
		}
	}
}

// What is revoked is gone under the keys that were shared, on each member, at once
// or after its time in the trash; its owner has it, with all its names.
func TestRevokedContentIsGoneUnderTheOldKeys(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name, trash string
		flags       []string
	}{{"at once", "168h", []string{"--now"}}, {"after the trash", "3s", nil}} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			m := emptyMesh(t, "DATAMESH_STORE_TRASH="+how.trash)
			m.grow(t, 5)
			alice, bob, eve := m.user(t), m.user(t), m.user(t)
			alice.knows(t, "bob", bob)
			bob.knows(t, "alice", alice)
			eve.knows(t, "alice", alice)
			content := noisy(1, 40_000_000) // of several segments
			old := alice.put(t, content, "--name", "film", "--tags", "a,b")
			other := alice.put(t, noisy(2, 100_000), "--name", "other")
			result[node.Copied](t, alice.run(t, "copy", "film", "also"))
			result[node.Pinned](t, alice.run(t, "pin", "film"))
			before := result[node.List](t, alice.run(t, "list", "--long"))
			share := result[node.Share](t, alice.run(t, "share", "film", "--to", "bob"))
			bob.got(t, content, share.ID.String(), "alice/film")
			eve.refuses(t, 6, "Decryption", "get", share.ID.String())
			segments := append(alice.segmentsNamed(t, "film"), datamesh.SegmentID(share.ID))
			if len(segments) < 4 {
				t.Fatalf("it has only %d segments", len(segments))
			}
			m.complete(t, old.Segments+other.Segments+1)

			plan := result[node.Unshared](t, alice.run(t, append([]string{"unshare", "film", "--from", "bob", "--revoke", "--dry-run"}, how.flags...)...))
			if !plan.DryRun || plan.Revoked == nil || plan.Revoked.Size != old.Size || plan.Revoked.StoredBytes == 0 || len(plan.Taken) != 1 || plan.Revoked.Object != (datamesh.ObjectID{}) {
				t.Errorf("a dry run says %+v of %+v", plan.Revoked, plan)
			}
			bob.got(t, content, "alice/film")
			began := time.Now()
			u := result[node.Unshared](t, alice.run(t, append([]string{"unshare", "film", "--from", "bob", "--revoke"}, how.flags...)...))
			v := u.Revoked
			if v == nil || u.Object != old.ID || len(u.Taken) != 1 || u.Taken[0] != share.ID || len(u.Warnings) > 0 || u.DryRun {
				t.Fatalf("got %+v", u)
			}
			if v.Object == old.ID || v.Size != old.Size || v.StoredBytes < old.Size || len(v.Kept) > 0 {
				t.Errorf("got %+v", v)
			}
			if now := len(how.flags) > 0; now != v.Until.IsZero() || !now && v.Until.Before(began.Add(7*24*time.Hour)) {
				t.Errorf("it says that the old content is kept until %v", v.Until)
			}

			bob.refuses(t, 1, "Deleted", "get", share.ID.String())
			bob.refuses(t, 4, "FileNotFound", "get", "alice/film")
			eve.refuses(t, 6, "Decryption", "get", v.Object.String())
			if p := problem(t, alice.run(t, "get", old.ID.String(), "-"), 1); p.Kind != "Deleted" {
				t.Errorf("by the old id: %+v", p)
			}
			m.gone(t, segments)
			m.complete(t, old.Segments+other.Segments)
			alice.got(t, content, "film", "also", v.Object.String())
			alice.got(t, noisy(2, 100_000), "other")
			after := result[node.List](t, alice.run(t, "list", "--long"))
			for i := range after.Objects {
				if after.Objects[i].ID == v.Object {
					after.Objects[i].ID = old.ID
				}
			}
			if diff := gocmp.Diff(before, after); diff != "" {
				t.Errorf("the list (-want +got):\n%s", diff)
			}
			for _, id := range alice.segmentsNamed(t, "film") {
				if slices.Contains(segments, id) {
					t.Errorf("segment %v is as it was", id)
				}
			}
			if p := problem(t, alice.run(t, "unshare", "film", "--from", "bob", "--revoke"), 4); p.Kind != "FileNotFound" {
				t.Errorf("twice: %+v", p)
			}
			if left := alice.interrupted(t); len(left) > 0 {
				t.Errorf("it leaves %+v", left)
			}
			if c := result[node.Cleaned](t, alice.run(t, "cleanup", "--dry-run")); len(c.Found) != 0 || c.Waiting != 0 || c.Segments != 0 {
				t.Errorf("it leaves %+v", c)
			}
			back := m.newcomer()
			result[node.Recovered](t, back.recovers(t, alice.words(t)))
			back.got(t, content, "film", "also")
		})
	}
}

// Others with whom it is shared read it as before, by a manifest of their own of
// the new object. A link would not, and so it is refused until that is taken back.
func TestRevocationKeepsOtherShares(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 5)
	alice, bob, dora := m.user(t), m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	alice.knows(t, "dora", dora)
	bob.knows(t, "alice", alice)
	dora.knows(t, "alice", alice)
	content := noisy(1, 5_000_000)
	old := alice.put(t, content, "--name", "plan")
	second := alice.elsewhere(t)
	second.got(t, content, "plan") // it has learnt of it
	toBob := result[node.Share](t, alice.run(t, "share", "plan", "--to", "bob"))
	toDora := result[node.Share](t, alice.run(t, "share", "plan", "--to", "dora", "--expires", "30d"))
	link := result[node.Share](t, alice.run(t, "share", "plan", "--link"))

	p := problem(t, alice.run(t, "unshare", "plan", "--from", "bob", "--revoke"), 1)
	if want := "datamesh unshare " + old.ID.String() + " --link " + link.ID.String(); p.Kind != "Refused" || !strings.HasSuffix(p.Hint, want) {
		t.Errorf("got %+v, want the hint %s", p, want)
	}
	bob.got(t, content, toBob.ID.String(), "alice/plan", link.Link) // nothing was done
	if p := problem(t, alice.run(t, "unshare", "plan", "--from", "bob", "--now"), 2); p.Kind != "Invalid" {
		t.Errorf("got %+v", p)
	}

	// The other home gives it a name, and a pin, of which the first has not heard.
	result[node.Copied](t, second.run(t, "copy", "plan", "named elsewhere"))
	result[node.Pinned](t, second.run(t, "pin", "plan"))

	u := result[node.Unshared](t, alice.run(t, "unshare", "plan", "--link", link.Link)) // without new keys
	if u.Revoked != nil || len(u.Taken) != 1 {
		t.Errorf("got %+v", u)
	}
	u = result[node.Unshared](t, alice.run(t, "unshare", "plan", "--from", "bob", "--revoke", "--now"))
	if len(u.Taken) != 1 || u.Taken[0] != toBob.ID || !slices.Equal(u.Revoked.Kept, []string{"dora"}) {
		t.Errorf("got %+v, %+v", u, u.Revoked)
	}
	bob.refuses(t, 1, "Deleted", "get", toBob.ID.String())
	bob.refuses(t, 4, "FileNotFound", "get", "alice/plan")
	bob.refuses(t, 1, "Deleted", "get", link.Link)
	dora.got(t, content, "alice/plan")
	dora.refuses(t, 1, "Deleted", "get", toDora.ID.String())
	box := result[node.Inbox](t, dora.run(t, "inbox")).Objects
	if len(box) != 1 || box[0].ID == toDora.ID || box[0].Name != "plan" || !box[0].Until.Equal(toDora.Until) || !box[0].Created.Equal(toDora.Created) {
		t.Fatalf("dora's inbox: %+v, had %+v", box, toDora)
	}
	dora.got(t, content, box[0].ID.String())
	for _, h := range []*user{alice, second} {
		h.got(t, content, "named elsewhere", "plan")
		list := result[node.List](t, h.run(t, "list", "--long")).Objects
		if len(list) != 2 || list[0].ID != u.Revoked.Object || !list[0].Pinned {
			t.Errorf("the list: %+v", list)
		}
		shares := result[node.Shares](t, h.run(t, "list", "--shared")).Shares
		if len(shares) != 1 || shares[0].ID != box[0].ID || shares[0].Object != u.Revoked.Object {
			t.Errorf("shared is %+v", shares)
		}
	}
	m.complete(t, old.Segments+1)

	// What was taken back long ago can still be revoked, and what is shared anew is
	// of the new object.
	again := result[node.Share](t, alice.run(t, "share", "plan", "--to", "bob"))
	bob.got(t, content, "alice/plan")
	result[node.Unshared](t, alice.run(t, "unshare", "plan", "--from", "bob"))
	u2 := result[node.Unshared](t, alice.run(t, "unshare", "plan", "--from", "bob", "--revoke", "--now"))
	if u2.Object != u.Revoked.Object || u2.Taken[0] != again.ID || u2.Revoked.Object == u2.Object {
		t.Errorf("got %+v, %+v", u2, u2.Revoked)
	}
	dora.got(t, content, "alice/plan")
	m.complete(t, old.Segments+1)

	// Of a link that was revoked another opens the same.
	link = result[node.Share](t, alice.run(t, "share", "plan", "--link"))
	bob.got(t, content, link.Link)
	result[node.Unshared](t, alice.run(t, "unshare", "plan", "--link", link.Link, "--revoke", "--now"))
	bob.refuses(t, 1, "Deleted", "get", link.Link)
	link = result[node.Share](t, alice.run(t, "share", "plan", "--link"))
	bob.got(t, content, link.Link)
	dora.got(t, content, "alice/plan")
	m.complete(t, old.Segments+2)
	if c := result[node.Cleaned](t, alice.run(t, "cleanup", "--dry-run")); len(c.Found) != 0 || c.Waiting != 0 || c.Segments != 0 {
		t.Errorf("it leaves %+v", c)
	}
}

// A revocation that is cut off at any step has lost nothing, and goes on when it is
// typed again.
func TestPowerCutAtEachStepOfARevocation(t *testing.T) {
	t.Parallel()
	onlyInFull(t, "a power cut at each step of a revocation")
	m := newMesh(t, 4)
	alice, bob, dora := m.user(t), m.user(t), m.user(t)
	alice.knows(t, "bob", bob)
	alice.knows(t, "dora", dora)
	bob.knows(t, "alice", alice)
	dora.knows(t, "alice", alice)
	words := alice.words(t)
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	cuts := slices.DeleteFunc(allSteps(t), func(s string) bool { return !ofRevocation(s) })
	if len(cuts) < 4 {
		t.Fatalf("there are only the steps %q", cuts)
	}
	cuts = append(cuts, "node: unshare: the catalog has noted it", "node: unshare: the manifest is deleted",
		"object: put: a segment is stored", "object: put: all is stored and reported", "object: put: the object is known to its user",
		"object: share: the manifest is stored", "object: share: the manifest is known to its user",
		"node: delete: the catalog knows that the mesh has been told")
	// Those to which taking back a share comes, too, are reached of the content alone
	// when all shares are gone before.
	alone := []string{"object: delete: the content is deleted", "object: delete: the list of the content is deleted", "object: delete: the manifest is deleted"}
	steps := t.TempDir()
	content := noisy(1, 3_000_000)
	stored := alice.put(t, content, "--name", "plan")
	result[node.Copied](t, alice.run(t, "copy", "plan", "also"))
	result[node.Share](t, alice.run(t, "share", "plan", "--to", "dora"))
	for _, at := range append(cuts, alone...) {
		kept := !slices.Contains(alone, at)
		share := result[node.Share](t, alice.run(t, "share", "plan", "--to", "bob"))
		if !kept {
			alice.run(t, "unshare", "plan", "--from", "dora") // the first time
			result[node.Unshared](t, alice.run(t, "unshare", "plan", "--from", "bob"))
		}
		old := alice.segmentsNamed(t, "plan")
		for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
			if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		revoke := []string{"unshare", "plan", "--from", "bob", "--revoke", "--now"}
		dies := alice.command(revoke...)
		dies.Path, dies.Args[0] = exe, exe
		dies.Env = append(dies.Env, stepsDir+"="+steps)
		if o := start(t, dies).wait(t); o.code == 0 {
			t.Errorf("%q was not reached: %s", at, o.stdout)
		}
		readable := func(when string) {
			t.Helper()
			alice.got(t, content, "plan", "also")
			if kept {
				dora.got(t, content, "alice/plan")
			}
			if t.Failed() {
				t.Fatalf("cut at %q: %s", at, when)
			}
		}
		readable("when it is cut off")
		back := m.newcomer() // whoever has nothing but the words
		result[node.Recovered](t, back.recovers(t, words))
		back.got(t, content, "plan", "also")

		u := result[node.Unshared](t, alice.run(t, revoke...))
		if u.Revoked == nil || u.Revoked.Object == u.Object || !u.Revoked.Until.IsZero() || !slices.Contains(u.Taken, share.ID) {
			t.Errorf("cut at %q: got %+v, %+v", at, u, u.Revoked)
		}
		readable("in the end")
		bob.refuses(t, 1, "Deleted", "get", share.ID.String())
		m.gone(t, old)
		if list := result[node.List](t, alice.run(t, "list")).Objects; len(list) != 2 || list[0].ID != u.Revoked.Object {
			t.Errorf("cut at %q: the list is %+v", at, list)
		}
		eventually(t, "what was left is swept", func() bool {
			alice.run(t, "stats")
			left, err := filepath.Glob(filepath.Join(alice.home, "puts", "*"))
			return err == nil && len(left) == 0
		})
		shares := 0
		if kept {
			shares = 1
		}
		m.complete(t, stored.Segments+shares)
		if t.Failed() {
			t.Fatalf("cut at %q", at)
		}
	}
	if c := result[node.Cleaned](t, alice.run(t, "cleanup", "--dry-run")); len(c.Found) != 0 || c.Waiting != 0 || c.Segments != 0 {
		t.Errorf("it leaves %+v", c)
	}
}

// A service that is cut off goes on by itself when it is started again, and its
// user finds it done.
func TestServiceEndsARevocation(t *testing.T) {
	t.Parallel()
	m := emptyMesh(t)
	exe, err := exec.LookPath("datamesh") // this test, as TestMain has it
	if err != nil {
		t.Fatal(err)
	}
	m.exe = exe
	first := m.add(t, "bootstrap", "--port", "0")
	first.start(t)
	for range 3 {
		m.add(t, append([]string{"service", "--port", "0"}, first.door()...)...)
	}
	v := &victim{member: m.members[1], outer: t, dir: t.TempDir()}
	v.env = []string{stepsDir + "=" + v.dir}
	v.arm(t, "")
	startAll(t, m.members[1:]...)
	m.settle(t)
	bob := m.user(t)
	v.user.knows(t, "bob", bob)
	bob.knows(t, "alice", &v.user)
	content := noisy(1, 3_000_000)
	stored := v.user.put(t, content, "--name", "plan")
	for _, at := range []string{"node: revoke: the mesh knows the new object", "node: revoke: the old object is condemned"} {
		share := result[node.Share](t, v.run(t, "share", "plan", "--to", "bob"))
		bob.got(t, content, "alice/plan")
		old := v.user.segmentsNamed(t, "plan")
		v.arm(t, at)
		if o := v.run(t, "unshare", "plan", "--from", "bob", "--revoke", "--now"); o.code == 0 {
			t.Errorf("%q was not reached: %s", at, o.stdout)
		}
		<-v.task.ended
		v.wakes(t)
		m.gone(t, old)
		v.user.got(t, content, "plan")
		bob.refuses(t, 1, "Deleted", "get", share.ID.String())
		eventually(t, "it is listed once", func() bool { return len(result[node.List](t, v.run(t, "list")).Objects) == 1 })
		m.complete(t, stored.Segments)
		if p := problem(t, v.run(t, "unshare", "plan", "--from", "bob", "--revoke", "--now"), 4); p.Kind != "FileNotFound" {
			t.Errorf("cut at %q, and ended: %+v", at, p)
		}
	}
}
