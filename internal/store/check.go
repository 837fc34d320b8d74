package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"datamesh/internal/errs"
)

// Check looks for damage in the index of the store in dir, whether it is open
// or not, and changes nothing. Kinds: FileNotFound (there is none), Integrity,
// Configuration (it is not ours, or a newer version's), Database, IO.
func Check(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "node.db")
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errs.New(errs.FileNotFound, "there is no %s", path)
		}
		return errs.New(errs.IO, "%w", err)
	}
	db, err := openSQLite(path, "query_only(1)")
	if err != nil {
		return err
	}
	defer db.Close()
	x := &index{}
	if x.conn, err = db.Conn(ctx); err != nil {
		return openError(path, err)
	}
	defer x.conn.Close()
	if err := x.identify(path); err != nil {
		return err
	}
	if x.fresh {
		return errs.New(errs.Integrity, "%s is empty", path)
	}
	return x.checkInUse(path)
}

// checkInUse is as check, of what a node may make one of this version meanwhile.
func (x *index) checkInUse(path string) error {
	err := x.check(path)
	if err == nil || !x.older {
		return err
	}
	if err := x.identify(path); err != nil {
		return err
	}
	return x.check(path)
}

// FreeSpace returns how many bytes of the file system at dir this process may
// still fill. Kind: IO.
func FreeSpace(dir string) (int64, error) {
	free, err := freeSpace(dir)
	if err != nil {
		return 0, errs.New(errs.IO, "free space of %s: %w", dir, err)
	}
	return free, nil
}

// Reserve returns what a store keeps of a capacity when that much is
// configured.
func Reserve(configured, capacity int64) int64 {
	if configured > 0 {
		return configured
	}
	return min(maxReserve, capacity/100*reservePercent)
}

// Used returns how many bytes the shards of the store in dir take, as its index
// says, whether it is open or not; of no store it is 0. Kinds: as [Check].
func Used(ctx context.Context, dir string) (used int64, err error) {
	path := filepath.Join(dir, "node.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	db, err := openSQLite(path, "query_only(1)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, `SELECT ifnull(sum(size), 0) FROM shards`).Scan(&used); err != nil {
		return 0, openError(path, err)
	}
	return used, nil
}
