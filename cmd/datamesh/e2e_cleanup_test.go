//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/transfer"
)

// ages has the home have seen all that is unknown a month earlier than it did.
func (u *user) ages(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(u.home, "user.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`UPDATE stray SET seen = seen - 31 * 24 * 3600`)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// segmentsOf returns the segments of which the members hold something.
func (m *mesh) segmentsOf(t *testing.T) map[datamesh.SegmentID]bool {
	t.Helper()
	held, _ := copies(t, m.running())
	all := map[datamesh.SegmentID]bool{}
	for key := range held {
		all[key.Segment] = true
	}
	return all
}

// Puts are killed, and their home is gone. The owner comes back by the words, and
// cleans up what they have left behind: that, and nothing else.
func TestCleanupFindsWhatALostHomeHasLeft(t *testing.T) {
	t.Parallel()
	m := healing(t, 6)
	lost := m.user(t)
	words := lost.words(t)
	other, third := lost.elsewhere(t), lost.elsewhere(t) // whose next command would sweep what it has left
	contents := map[string][]byte{}
	store := func(u *user, name string, content []byte) {
		u.put(t, content, "--name", name)
		contents[name] = content
	}
	for i := range 4 {
		store(lost, fmt.Sprint("file ", i), noisy(byte(i), 1000<<(i*4)))
		store(other, fmt.Sprint("of the other home ", i), noisy(byte(10+i), 1000<<(i*4)))
	}
	gone := noisy(20, 400_000)
	lost.put(t, gone, "--name", "deleted")
	before := m.segmentsOf(t)
	away := m.members[3]
	kill(away)
	result[node.Removed](t, lost.run(t, "rm", "deleted"))
	restart(t, away) // and has not heard of it

	put, content := half(t, lost)
	put.kill()
	content.Close()
	steps := t.TempDir()
	err := os.WriteFile(filepath.Join(steps, stepToDieAt), []byte("object: put: all is stored and reported"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	whole := noisy(21, 300_000)
	cmd := third.command("put", "-", "--name", "lost")
	cmd.Env, cmd.Stdin = append(cmd.Env, stepsDir+"="+steps), bytes.NewReader(whole)
	if cmd.Path, err = exec.LookPath("datamesh"); err != nil { // this test, as TestMain has it
		t.Fatal(err)
	}
	if o := start(t, cmd).wait(t); o.code == 0 {
		t.Fatalf("a put was acknowledged by a process that was to die: %s", o.stdout)
	}
	for _, u := range []*user{lost, third} {
		if err := os.RemoveAll(u.home); err != nil {
			t.Fatal(err)
		}
	}
	since := func() (n int) { // how many are there that were not before: what was deleted goes at some time
		for segment := range m.segmentsOf(t) {
			if !before[segment] {
				n++
			}
		}
		return n
	}
	left := since()

	u := m.newcomer()
	result[node.Recovered](t, u.recovers(t, words))
	c := result[node.Cleaned](t, u.run(t, "cleanup"))
	if len(c.Found) != 1 || c.Found[0].Name != "lost" || c.Found[0].Size != int64(len(whole)) {
		t.Fatalf("the lost object: got %+v", c.Found)
	}
	leftovers := left - c.Found[0].Segments
	if c.Segments != 0 || c.Waiting != leftovers || leftovers == 0 || c.Answered != 6 || c.Asked != 6 || c.First.IsZero() {
		t.Errorf("at first sight: got %+v, want %d of %d to wait", c, leftovers, left)
	}
	u.ages(t)
	if c = result[node.Cleaned](t, u.run(t, "cleanup", "--dry-run")); c.Segments != leftovers || c.Waiting != 0 || !c.DryRun {
		t.Errorf("a dry run: got %+v, want %d to go", c, leftovers)
	}
	if n := since(); n != left {
		t.Errorf("%d of %d are there after a dry run", n, left)
	}
	if c = result[node.Cleaned](t, u.run(t, "cleanup")); c.Segments != leftovers || c.Failed != 0 || len(c.Found) != 1 {
		t.Errorf("got %+v, want %d in the trash", c, leftovers)
	}
	eventually(t, "the members have put it into their trash", func() bool { return since() == left-leftovers })
	intact := func() {
		t.Helper()
		for name, content := range contents {
			if got := u.run(t, "get", name, "-"); got.code != 0 || !bytes.Equal(got.stdout, content) {
				t.Errorf("get %s: exit status %d: %s", name, got.code, got.stderr)
			}
		}
		u.reads(t, c.Found[0].ID, whole)
		result[node.Undeleted](t, u.run(t, "undelete", "deleted"))
		if got := u.run(t, "get", "deleted", "-"); got.code != 0 || !bytes.Equal(got.stdout, gone) {
			t.Errorf("what was brought back: exit status %d: %s", got.code, got.stderr)
		}
		result[node.Removed](t, u.run(t, "rm", "deleted"))
	}
	intact()
	if c := result[node.Cleaned](t, u.run(t, "cleanup")); c.Segments+c.Waiting != 0 {
		t.Errorf("again: got %+v", c)
	}
	if c := result[node.Cleaned](t, u.run(t, "cleanup", "--undo")); c.Restored != leftovers || c.Failed != 0 {
		t.Errorf("undo: got %+v, want %d back", c, leftovers)
	}
	if n := since(); n != left {
		t.Errorf("%d of %d are back", n, left)
	}
	c = result[node.Cleaned](t, u.run(t, "cleanup"))
	if c.Segments != 0 || c.Waiting != leftovers {
		t.Errorf("what is back begins anew: got %+v", c)
	}
	intact()
	m.refusesToList(t, u)
}

// refusesToList checks that no member tells a stranger what a user has, whatever he
// signs, nor lets him use what the owner has signed for somebody else.
func (m *mesh) refusesToList(t *testing.T, u *user) {
	t.Helper()
	owner := result[node.Identity](t, u.run(t, "id")).Owner
	stranger := m.tappedClient(t)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	mesh := stranger.Genesis().MeshID()
	for _, x := range m.members {
		ask := transfer.OwnedAsk{Owner: owner, Signature: format.SignOwned(key, mesh, x.ready.PeerID, stranger.self)}
		ctx, cancel := context.WithTimeout(t.Context(), guard)
		list, _, _, err := stranger.Client.Owned(ctx, x.ready.PeerID, ask)
		if errs.KindOf(err) != errs.Authentication || len(list) > 0 {
			t.Errorf("%s tells a stranger of %d segments: %v", x.home, len(list), err)
		}
		list, _, _, err = stranger.Owned(ctx, x.ready.PeerID, key, datamesh.SegmentID{})
		if err != nil || len(list) > 0 {
			t.Errorf("%s: of the stranger's own there are %d segments: %v", x.home, len(list), err)
		}
		cancel()
	}
}
