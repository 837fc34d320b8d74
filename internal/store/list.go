package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"datamesh"
	"datamesh/internal/errs"
)

// maxKeys is how many keys one query of Has asks for.
const maxKeys = 500

// Size returns how many bytes a shard takes, which is at least its length.
// Kinds: FileNotFound, Unavailable, Database.
func (d *Disk) Size(ctx context.Context, key datamesh.ShardKey) (size int64, err error) {
	if err := ready(ctx, "get", key); err != nil {
		return 0, err
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	err = d.index.row(`SELECT size FROM shards WHERE segment = ? AND idx = ?`, []any{key.Segment[:], key.Index}, &size)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, errNotFound("get", key)
	case err != nil:
		return 0, errs.New(kindOf(err), "get %s: %w", name(key), err)
	}
	return size, nil
}

// Has asks the index, and of a shard that is a file whether that is there in
// its whole length. A shard that the last read has found damaged it does not
// have, until it is put again; it does not itself read any.
func (d *Disk) Has(ctx context.Context, keys []datamesh.ShardKey) ([]bool, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	has := make([]bool, 0, len(keys))
	for some := range slices.Chunk(keys, maxKeys) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		there, err := d.present(some)
		if err != nil {
			return nil, err
		}
		for _, key := range some {
			has = append(has, there[key] && !d.damaged.has(key))
		}
	}
	return has, nil
}

// present returns those of the keys that the index has, with their files.
func (d *Disk) present(keys []datamesh.ShardKey) (map[datamesh.ShardKey]bool, error) {
	args := make([]any, 0, 2*len(keys))
	for _, key := range keys {
		args = append(args, key.Segment[:], key.Index)
	}
	there := make(map[datamesh.ShardKey]bool, len(keys))
	rows, err := d.index.read.Query(`
		WITH wanted (segment, idx) AS (VALUES `+strings.Repeat("(?,?),", len(keys)-1)+`(?,?))
		SELECT s.segment, s.idx, s.size, s.payload IS NULL FROM wanted w CROSS JOIN shards s ON s.segment = w.segment AND s.idx = w.idx`, args...)
	if err != nil {
		return nil, errs.New(kindOf(err), "store: has: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var size int64
		var inFile bool
		key, err := scanKey(rows, &size, &inFile)
		if err != nil {
			return nil, errs.New(kindOf(err), "store: has: %w", err)
		}
		there[key] = !inFile || isFile(d.path(key), size)
	}
	if err := rows.Err(); err != nil {
		return nil, errs.New(kindOf(err), "store: has: %w", err)
	}
	return there, nil
}

// List asks the index, not the files.
func (d *Disk) List(ctx context.Context, after datamesh.ShardKey, limit int) ([]datamesh.ShardKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	var keys []datamesh.ShardKey
	err := d.index.rows(func(rows *sql.Rows) error {
		key, err := scanKey(rows)
		keys = append(keys, key)
		return err
	}, `SELECT segment, idx FROM shards WHERE (segment, idx) > (?, ?) ORDER BY segment, idx LIMIT ? + 0`, // for a bare ? it is compiled anew each time
		after.Segment[:], after.Index, max(limit, 0))
	if err != nil {
		return nil, errs.New(kindOf(err), "store: list: %w", err)
	}
	return keys, nil
}

// scanKey reads the columns segment and idx, and others after them.
func scanKey(rows *sql.Rows, others ...any) (key datamesh.ShardKey, err error) {
	var segment []byte
	err = rows.Scan(append([]any{&segment, &key.Index}, others...)...)
	copy(key.Segment[:], segment)
	return key, err
}
