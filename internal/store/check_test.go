package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func TestCheckOfAStoreInUseFindsNothingAndStopsNobody(t *testing.T) {
	dir := t.TempDir()
	if err := Check(t.Context(), dir); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("got %v, want FileNotFound", err)
	}
	d := openDisk(t, dir, Options{})
	s := storetest.Segment(t, 1, 2, 1, 100)
	s.Put(t, d, 0)
	if err := Check(t.Context(), dir); err != nil {
		t.Error(err)
	}
	s.Put(t, d, 1)
	s.Check(t, d, 0)
}

// A node may upgrade a store after a check has seen of which version it is.
func TestCheckBesideAnUpgradeFindsNothing(t *testing.T) {
	dir, first, _, _ := earlier(t)
	path := filepath.Join(dir, "node.db")
	db, err := openSQLite(path, "query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	x := &index{}
	if x.conn, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer x.conn.Close()
	if err := x.identify(path); err != nil || !x.older {
		t.Fatalf("identify: %v, of an earlier version: %t", err, x.older)
	}
	first.Check(t, openDisk(t, dir, Options{}), 0)
	if err := x.checkInUse(path); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsDamageAndMendsNothing(t *testing.T) {
	for what, damage := range map[string]func(t *testing.T, db string){
		"zeros": func(t *testing.T, db string) { edit(t, db, func(b []byte) []byte { return make([]byte, len(b)) }) },
		"no database": func(t *testing.T, db string) {
			edit(t, db, func([]byte) []byte { return []byte("this is no database at all") })
		},
		"an empty one": func(t *testing.T, db string) { edit(t, db, func([]byte) []byte { return nil }) },
		"a lost table": func(t *testing.T, db string) {
			page := rootPage(t, db, "shards")
			blank(t, db, func(n int, _ []byte) bool { return n == page })
		},
	} {
		dir := t.TempDir()
		db := filepath.Join(dir, "node.db")
		closeDisk(t, openDisk(t, dir, Options{}))
		damage(t, db)
		before, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), dir); !errors.Is(err, errs.Integrity) && !errors.Is(err, errs.Database) {
			t.Errorf("%s: got %v, want Integrity or Database", what, err)
		}
		if after, err := os.ReadFile(db); err != nil || string(after) != string(before) {
			t.Errorf("%s: the database was changed, %v", what, err)
		}
	}
}

func TestReserveIsWhatIsConfiguredOrAPartOfTheCapacity(t *testing.T) {
	for _, tt := range []struct{ configured, capacity, want int64 }{
		{7, 1 << 30, 7},
		{0, 100 << 20, 100 << 20 / 100 * reservePercent},
		{0, 1 << 60, maxReserve},
	} {
		if got := Reserve(tt.configured, tt.capacity); got != tt.want {
			t.Errorf("of %d with %d configured: got %d, want %d", tt.capacity, tt.configured, got, tt.want)
		}
	}
	if free, err := FreeSpace(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("got %d free, %v", free, err)
	}
	if _, err := FreeSpace(filepath.Join(t.TempDir(), "none")); !errors.Is(err, errs.IO) {
		t.Errorf("got %v, want IO", err)
	}
}

func TestUsedIsWhatTheIndexSays(t *testing.T) {
	dir := t.TempDir()
	if used, err := Used(t.Context(), dir); used != 0 || err != nil {
		t.Errorf("no store: %d, %v", used, err)
	}
	d := openDisk(t, dir, Options{})
	storetest.Segment(t, 1, 2, 1, 100).Put(t, d, 0)
	if used, err := Used(t.Context(), dir); used != d.Usage().Used || used == 0 || err != nil {
		t.Errorf("got %d, %v, want %d", used, err, d.Usage().Used)
	}
}
