//go:build unix

package main

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/backup"
	"datamesh/internal/node"
)

// plantTree makes a tree with so many MiB in it: a few large files, many small
// ones, links and directories, with times and permissions of their own. It
// returns the sum of the sizes of all files.
func plantTree(t *testing.T, dir string, seed byte, mib int64) (bytes int64) {
	t.Helper()
	file := func(name string, n int64, mode fs.FileMode) {
		t.Helper()
		seed++
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = writeNoise(path, seed, n)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err == nil {
			err = os.Chtimes(path, time.Time{}, time.Date(2020, 1, 1, 0, 0, int(seed), int(seed)*1001, time.UTC))
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += n
	}
	file("large", mib<<20/2, 0o644)
	for i := range 8 {
		file(fmt.Sprintf("some/of them/%d", i), mib<<20/16-int64(i), 0o600)
	}
	for i := range 400 {
		file(fmt.Sprintf("many/%d/%d", i%7, i), int64(i*7), 0o640)
	}
	file("many/run ü", 10_000, 0o755)
	file("empty", 0, 0o444)
	for _, err := range []error{
		os.Symlink("../large", filepath.Join(dir, "many", "link")),
		os.Symlink("/nowhere", filepath.Join(dir, "broken")),
		os.Mkdir(filepath.Join(dir, "nothing"), 0o700),
		os.Chmod(filepath.Join(dir, "many", "3"), 0o750),
		os.Chtimes(filepath.Join(dir, "many"), time.Time{}, time.Date(2021, 2, 3, 4, 5, 6, 7000, time.UTC)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return bytes
}

func writeNoise(path string, seed byte, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, noise(seed, n))
	return err
}

// A leaf is what a tree has at a path.
type leaf struct {
	Mode    fs.FileMode
	ModTime time.Time // none of a link
	Target  string
	Sum     [32]byte
}

// leaves returns a tree by its paths.
func leavesOf(t *testing.T, dir string) map[string]leaf {
	t.Helper()
	all := map[string]leaf{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		x := leaf{Mode: info.Mode()}
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			x.Target, err = os.Readlink(path)
		case info.Mode().IsRegular():
			x.Sum, err = sumFile(path)
			fallthrough
		default:
			x.ModTime = info.ModTime().UTC()
		}
		name, _ := filepath.Rel(dir, path)
		all[name] = x
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sumFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [32]byte(h.Sum(nil)), err
}

// backs makes a backup of a tree, which must succeed.
func (u *user) backs(t *testing.T, dir, name string, flags ...string) backup.Result {
	t.Helper()
	began := time.Now()
	r := result[backup.Result](t, u.run(t, append([]string{"backup", dir, "--name", name}, flags...)...))
	t.Logf("backup: %d MiB, read %d, new %d, in %v", r.Bytes>>20, r.Read>>20, r.NewBytes>>20, time.Since(began))
	if r.Failed != 0 || len(r.Failures) != 0 {
		t.Errorf("backup: got %+v", r)
	}
	return r
}

// restores restores a version of a backup, which must be the tree.
func (u *user) restores(t *testing.T, name, version string, want map[string]leaf) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	began := time.Now()
	r := result[backup.Restored](t, u.run(t, "restore", name, dir, "--version", version))
	t.Logf("restore: %d MiB in %v", r.Bytes>>20, time.Since(began))
	if r.Failed != 0 {
		t.Errorf("restore: got %+v", r)
	}
	if diff := cmp.Diff(want, leavesOf(t, dir)); diff != "" {
		t.Errorf("restore %s, version %s (-want +got):\n%s", name, version, diff)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// backups lists the snapshots.
func (u *user) backups(t *testing.T, flags ...string) backup.List {
	t.Helper()
	return result[backup.List](t, u.run(t, append([]string{"backups"}, flags...)...))
}

// agesPacks has what the home has noted of packs that nobody needs, and of what was
// deleted, be of so much earlier.
func (u *user) agesPacks(t *testing.T, by time.Duration) {
	t.Helper()
	for file, statement := range map[string]string{
		filepath.Join("backups", "index.db"): `UPDATE pack SET idle = idle - ?`,
		"user.db":                            `UPDATE deletion SET deleted = deleted - ?`,
	} {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(u.home, file)+"?_pragma=busy_timeout(10000)")
		if err == nil {
			_, err = db.Exec(statement, int64(by))
		}
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// backupSize is how many MiB the trees have: what takes at most 20 s.
func backupSize() int64 {
	if os.Getenv("TEST_DATAMESH_FULL") == "1" {
		return 1024
	}
	return 64
}

// A second backup has what has changed alone; both can be restored, and the
// second also when the first is gone with what it alone has needed, when shards
// are damaged, and when the home is lost.
func TestBackupsHaveWhatHasChanged(t *testing.T) {
	onlyInFull(t, "what backups of a changed tree take")
	t.Parallel()
	m := newMesh(t, 6)
	u := m.user(t)
	words := u.words(t)
	src := filepath.Join(m.dir, "tree")
	size := plantTree(t, src, 0, backupSize())
	dropped := filepath.Join(src, "dropped")
	if err := writeNoise(dropped, 200, 110<<20); err != nil { // which has a pack for itself
		t.Fatal(err)
	}
	size += 110 << 20
	before := leavesOf(t, src)
	first := u.backs(t, src, "tree")
	if first.Bytes != size || first.NewBytes < size || first.Read != size || first.Survives < 1 {
		t.Errorf("the first: got %+v, want %d bytes", first, size)
	}

	// One percent of it changes: in the middle of a file, at its end, and files
	// that are new, gone, moved and of other permissions.
	if err := os.Remove(dropped); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(src, "large"), os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(noisy(201, backupSize()<<20/200), 10<<20)
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = writeNoise(filepath.Join(src, "some", "new"), 202, backupSize()<<20/200)
	}
	if err == nil {
		err = os.Rename(filepath.Join(src, "some", "of them", "3"), filepath.Join(src, "many", "moved"))
	}
	if err == nil {
		err = os.Chmod(filepath.Join(src, "some", "of them", "4"), 0o400)
	}
	if err != nil {
		t.Fatal(err)
	}
	after := leavesOf(t, src)
	second := u.backs(t, src, "tree")
	if most := size / 20; second.NewBytes > most || second.NewBytes < backupSize()<<20/200 {
		t.Errorf("the second has %d new bytes, want at most %d", second.NewBytes, most)
	}
	if list := u.backups(t, "tree"); len(list.Snapshots) != 2 || list.Snapshots[0].ID != second.ID || list.Snapshots[1].Version != 2 ||
		list.Snapshots[1].Files != first.Files || !list.Complete {
		t.Errorf("backups: got %+v", list)
	}
	u.restores(t, "tree", "2", before)
	u.restores(t, "tree", second.ID.String(), after)

	t.Run("nothing has changed", func(t *testing.T) {
		settled := u.backs(t, src, "tree") // whatever was written a moment before the last is read once more
		third := u.backs(t, src, "tree")
		if third.Read > 2*backupSize()<<20/100 || third.NewBytes > 1<<20 {
			t.Errorf("got %+v", third)
		}
		result[node.Removed](t, u.run(t, "rm", settled.ID.String(), "--now"))
	})
	t.Run("damage", func(t *testing.T) { u.findsDamage(t, after) })
	t.Run("what nobody needs goes", func(t *testing.T) {
		result[node.Removed](t, u.run(t, "rm", first.ID.String()))
		packs := u.backups(t, "--sweep").Packs
		u.agesPacks(t, 2*24*time.Hour)
		if list := u.backups(t, "--sweep"); list.Packs != packs {
			t.Errorf("%d packs, there were %d: the first snapshot can be brought back", list.Packs, packs)
		}
		u.agesPacks(t, 6*24*time.Hour)
		if list := u.backups(t, "--sweep"); list.Packs != packs || list.Swept.Waiting == 0 {
			t.Errorf("got %+v, there were %d: nobody has needed some for a moment alone", list, packs)
		}
		u.agesPacks(t, 25*time.Hour)
		list := u.backups(t, "--sweep")
		if list.Packs >= packs || list.Swept.Packs != packs-list.Packs || list.Swept.Bytes < 40<<20 {
			t.Errorf("got %+v, there were %d packs", list, packs)
		}
		u.restores(t, "tree", "1", after)
	})
	t.Run("the home is lost", func(t *testing.T) {
		lost := u.home
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
		u := m.newcomer()
		result[node.Recovered](t, u.recovers(t, words))
		u.restores(t, "tree", time.Now().Format(time.DateOnly), after)
		plain := u.put(t, noisy(204, 100), "--name", "plain")
		if r := result[node.Rotated](t, u.run(t, "keys", "rotate")); r.Resealed != 1 { // snapshots name packs by their ids
			t.Errorf("got %+v, want the file that is no part of a backup, %s, sealed anew alone", r, plain.ID)
		}
		if err := os.WriteFile(filepath.Join(src, "one more"), noisy(203, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		again := u.backs(t, src, "tree")
		if again.NewBytes > 1<<20 || again.Read > 1<<20 {
			t.Errorf("got %+v", again)
		}
		packs := u.backups(t).Packs
		u.agesPacks(t, 25*time.Hour)
		if list := u.backups(t, "--sweep"); list.Packs != packs {
			t.Errorf("got %+v, there were %d packs, and all are needed", list, packs)
		}
		u.restores(t, "tree", "1", leavesOf(t, src))
	})
}

// findsDamage damages a shard that a restore reads, and has it found.
func (u *user) findsDamage(t *testing.T, want map[string]leaf) {
	t.Helper()
	if r := result[backup.Restored](t, u.run(t, "restore", "tree", "--verify")); len(r.Bad) != 0 || r.Failed != 0 {
		t.Errorf("got %+v", r)
	}
	pack := result[node.Info](t, u.run(t, "info", u.mostNeeded(t).String()))
	segment := pack.Segments[2]
	at := segment.Shards[slices.IndexFunc(segment.Shards, func(s node.ShardInfo) bool { return s.Index == 1 })]
	flip(t, u.mesh.byID(t, at.Peer).shardFiles(t)[datamesh.ShardKey{Segment: segment.ID, Index: 1}])
	o := u.run(t, "restore", "tree", "--verify")
	for range 10 { // what is served fast enough by others is never asked for
		if o.code == 0 {
			o = u.run(t, "restore", "tree", "--verify")
		}
	}
	if o.code != 9 {
		t.Fatalf("%v exited with %d, want 9: %s%s", o.args, o.code, o.stdout, o.stderr)
	}
	r := document[backup.Restored](t, o.stdout)
	if r.Failed != 0 || len(r.Bad) != 1 || r.Bad[0].Segment != segment.ID || r.Bad[0].Index != 1 || r.Bad[0].Peer != at.Peer {
		t.Errorf("got %+v, want shard 1 of %s on %s", r, segment.ID, at.Peer)
	}
	u.restores(t, "tree", "1", want)
}

// A check reads the shards, too, that nobody needs as long as the others are whole,
// and tells a damaged one from one that is not there.
func TestVerifySeesParityThatIsDamaged(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	u := m.user(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), noisy(1, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	u.backs(t, dir, "tree")
	if r := result[backup.Restored](t, u.run(t, "restore", "tree", "--verify")); r.Checked == nil || r.Checked.Objects != 2 || r.Checked.Shards != 12 || len(r.Checked.Unsound)+len(r.Bad)+r.Failed != 0 {
		t.Errorf("when all is whole: %+v, %+v", r, r.Checked)
	}
	pack := result[node.Info](t, u.run(t, "info", u.mostNeeded(t).String()))
	segment := pack.Segments[len(pack.Segments)-1]
	damaged, missing := segment.Shards[4], segment.Shards[5]
	if damaged.Index != 4 || missing.Index != 5 {
		t.Fatalf("the segment has %+v", segment.Shards)
	}
	file := func(s node.ShardInfo) string {
		return m.byID(t, s.Peer).shardFiles(t)[datamesh.ShardKey{Segment: segment.ID, Index: s.Index}]
	}
	flip(t, file(damaged))
	if err := os.Remove(file(missing)); err != nil {
		t.Fatal(err)
	}
	o := u.run(t, "restore", "tree", "--verify")
	r := document[backup.Restored](t, o.stdout)
	named := slices.ContainsFunc(r.Bad, func(b node.BadShard) bool {
		return b.Segment == segment.ID && b.Index == damaged.Index && b.Peer == damaged.Peer
	})
	if o.code != 9 || r.Failed != 0 || !named {
		t.Errorf("exit status %d, %+v: %s", o.code, r, o.stderr)
	}
	if x := r.Checked.Unsound; len(x) != 1 || x[0].ID != pack.ID || x[0].Damaged+x[0].Missing != 2 || x[0].Damaged < 1 {
		t.Errorf("unsound is %+v, want %s with two shards", x, pack.ID)
	}
}

// index opens the index of the backups of a home.
func (u *user) index(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(u.home, "backups", "index.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// mostNeeded returns the pack of which the newest snapshot needs most.
func (u *user) mostNeeded(t *testing.T) datamesh.ObjectID {
	t.Helper()
	db := u.index(t)
	defer db.Close()
	var id []byte
	if err := db.QueryRow(`SELECT id FROM pack JOIN needs ON needs.pack = pack.n WHERE snapshot = (SELECT max(n) FROM snapshot) ORDER BY bytes DESC`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return datamesh.ObjectID(id)
}

// Of a backup that is killed nothing is listed, and the next one goes on with the
// packs that were stored.
func TestKilledBackupGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 6)
	u := m.user(t)
	src := filepath.Join(m.dir, "tree")
	size := plantTree(t, src, 50, 160)
	k := start(t, u.command("backup", src, "--name", "tree"))
	eventually(t, "a pack is stored, and known here", func() bool {
		db := u.index(t)
		defer db.Close()
		n := 0
		db.QueryRow(`SELECT count(*) FROM pack`).Scan(&n) // it may not be there yet
		return n > 0 || !k.running()
	})
	k.kill()
	if list := u.backups(t); len(list.Snapshots) != 0 || list.Packs == 0 {
		t.Fatalf("got %+v", list)
	}
	r := u.backs(t, src, "tree")
	if r.NewBytes > size-40<<20 || r.NewBytes == 0 {
		t.Errorf("%d new bytes of %d: the packs that were stored are not used", r.NewBytes, size)
	}
	u.restores(t, "tree", "1", leavesOf(t, src))
	eventually(t, "the leftovers are gone", func() bool {
		left, err := filepath.Glob(filepath.Join(u.home, "puts", "*"))
		u.backups(t)
		return err == nil && len(left) == 0
	})
	list := u.backups(t)
	if len(list.Snapshots) != 1 || list.Unused > 1<<20 {
		t.Errorf("got %+v", list)
	}

	t.Run("through a service", func(t *testing.T) {
		u := &m.members[0].user
		src := filepath.Join(m.dir, "small")
		size := plantTree(t, src, 100, 4)
		if r := u.backs(t, src, "small"); r.Bytes != size || r.Survives < 1 {
			t.Errorf("got %+v, want %d bytes", r, size)
		}
		if r := u.backs(t, src, "small", "--force"); r.Read != size || r.NewBytes > 1<<20 {
			t.Errorf("the second: got %+v", r)
		}
		u.restores(t, "small", "2", leavesOf(t, src))
		if r := result[backup.Restored](t, u.run(t, "restore", "small", "--verify")); r.Failed != 0 || r.Bytes != size {
			t.Errorf("got %+v", r)
		}
	})
}
