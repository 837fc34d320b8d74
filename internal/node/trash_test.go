package node

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh/internal/config"
	"datamesh/internal/repair"
	"datamesh/internal/store"
	"datamesh/internal/storetest"
)

// A node that was away for long, and ends before it has heard what was deleted
// meanwhile, was away the next time, too. So was one that has shards, and no
// longer knows when it was there last.
func TestAbsenceLastsUntilItIsMadeUpFor(t *testing.T) {
	dir := t.TempDir()
	openDisk := func() *store.Disk {
		t.Helper()
		disk, err := store.Open(dir, store.Options{Capacity: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		return disk
	}
	disk := openDisk()
	n := &Node{ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
	n.opt.Config = config.Default()
	want := func(what string, want bool) {
		t.Helper()
		if away, err := n.wasAway(disk); away != want || err != nil {
			t.Errorf("%s: was away: %v, %v, want %v", what, away, err, want)
		}
	}
	here := func(absent bool) {
		t.Helper()
		k := repair.NewKeeper(nil, &repair.Registry{Index: disk}, repair.Config{}, 0, repair.Events{})
		if absent {
			k.Absent()
		}
		if err := n.purgeOnce(disk, k); err != nil {
			t.Fatal(err)
		}
	}
	want("a new store", false)
	here(false)
	want("a node that was there", false)
	long := time.Now().Add(-2 * n.opt.Config.Store.Trash)
	if err := disk.SetPosition(t.Context(), alivePosition, binary.BigEndian.AppendUint64(nil, uint64(long.Unix()))); err != nil {
		t.Fatal(err)
	}
	want("a node that returns", true)
	here(true)
	want("a node that has heard nothing yet", true)
	here(false)
	want("a node that has heard", false)

	storetest.Segment(t, 1, 2, 1, 1<<20).Put(t, disk, 0)
	disk.Close()
	if err := os.Remove(filepath.Join(dir, "node.db")); err != nil {
		t.Fatal(err)
	}
	disk = openDisk()
	defer disk.Close()
	want("a store without its index", true)
}
