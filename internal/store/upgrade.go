package store

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"

	"datamesh"
	"datamesh/internal/errs"

	sqlite3 "modernc.org/sqlite/lib"
)

// beginUpgrade numbers the peers of a database of version 1, which has a row for
// each holder, the younger with the greater id, and enters what they hold. All that
// it reads is in indexes, of which quick_check does not compare what they say with
// the table: what has rotted there is left out, where it can be told.
const beginUpgrade = `
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS proofs (
	segment BLOB NOT NULL,
	idx     INTEGER NOT NULL,
	peer    BLOB NOT NULL,
	proven  INTEGER NOT NULL,
	PRIMARY KEY (segment, idx, peer)
) STRICT, WITHOUT ROWID;
ALTER TABLE segments ADD COLUMN holders BLOB NOT NULL DEFAULT x'';
` + holderTables + `
INSERT INTO peers (peer) SELECT DISTINCT peer FROM holders WHERE idx BETWEEN 0 AND 255 ORDER BY peer;
INSERT OR IGNORE INTO holdings (peer, segment, idx)
	SELECT number, segment, idx FROM peers CROSS JOIN holders USING (peer) WHERE idx BETWEEN 0 AND 255 ORDER BY number, segment, idx;
`

const endUpgrade = `
DROP TABLE holders;
DROP TABLE proofs;
PRAGMA user_version = 2;
COMMIT`

// upgrade makes a database of version 1 one of version 2, in one transaction. It
// takes as much room as segments and their holders, and what that of before has
// taken is used by and by. Kinds: Integrity (it is damaged), Full, Database.
func (x *index) upgrade() error {
	if err := x.roomToUpgrade(); err != nil {
		return err
	}
	ctx := context.Background()
	_, err := x.conn.ExecContext(ctx, beginUpgrade)
	if err == nil {
		err = x.upgradeHolders()
	}
	if err == nil {
		_, err = x.conn.ExecContext(ctx, endUpgrade)
	}
	switch code := sqliteCode(err); {
	case err == nil:
		return nil
	case noRoom(err):
	case code == sqlite3.SQLITE_CONSTRAINT, code == sqlite3.SQLITE_MISMATCH, code == sqlite3.SQLITE_OK: // OK: a value that is not what its column has
		return errs.New(errs.Integrity, "%s is damaged: %w", x.path, err)
	}
	return openError(x.path, err)
}

// roomToUpgrade reports with an error of kind Full that an upgrade would fill the disk:
// what it writes is in the log first, up to the last byte at each start. It takes less
// than all that is not shards. Kinds: Full, Integrity, Database, IO.
func (x *index) roomToUpgrade() error {
	var takes int64
	row := x.conn.QueryRowContext(context.Background(), `
		SELECT (page_count - freelist_count) * page_size
			- (SELECT ifnull(sum(max(size, 0)), 0) FROM shards WHERE payload IS NOT NULL)
			- (SELECT ifnull(sum(max(size, 0)), 0) FROM trash WHERE payload IS NOT NULL)
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`)
	if err := row.Scan(&takes); err != nil {
		return openError(x.path, err)
	}
	free, err := freeSpace(filepath.Dir(x.path))
	if err != nil {
		return errs.New(kindOf(err), "free space: %w", err)
	}
	if free < takes {
		return errs.WithHint(errs.New(errs.Full, "%s is of an earlier version, and there is no room to change it: %s are free", x.path, size(free)),
			"free %s of the disk for the change, of which the most is given back", size(takes))
	}
	return nil
}

// upgradeHolders gives the row of each segment its holders.
func (x *index) upgradeHolders() error {
	b := &batch{index: x}
	var segment datamesh.SegmentID
	var list holders
	write := func() {
		if len(list) == 0 {
			return
		}
		slices.SortStableFunc(list, func(a, b holder) int { return a.index - b.index }) // an index may have rotted
		result := b.exec(`UPDATE segments SET holders = ? WHERE segment = ?`, encodeHolders(list), segment[:])
		if b.err != nil {
			return
		}
		if n, _ := result.RowsAffected(); n > 0 { // SQLite's has no error
			return
		}
		for _, h := range list { // of a segment that is not known
			b.unhold(segment, h.index, h.peer)
		}
	}
	b.query(func(rows *sql.Rows) error {
		var h holder
		key, err := scanKey(rows, &h.peer, &h.proven)
		if key.Segment != segment {
			write()
			segment, list = key.Segment, nil
		}
		h.index = key.Index
		if list.find(h.index, h.peer) < 0 {
			list = append(list, h)
		}
		return err
	}, `SELECT h.segment, h.idx, number, max(0, ifnull(proven, 0)) FROM holders h JOIN peers USING (peer) LEFT JOIN proofs p USING (segment, idx, peer)
		WHERE h.idx BETWEEN 0 AND 255 ORDER BY h.segment, h.idx, id DESC`)
	write()
	return b.err
}
