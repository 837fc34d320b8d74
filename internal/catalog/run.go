package catalog

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

var (
	// maxRecords is how many records of a device the mesh keeps before their
	// changes go into a run.
	maxRecords = 128
	// maxBytes is how many bytes these have together at most.
	maxBytes = 256 << 10
	// fanOut is how many runs of a level go into one of the next.
	fanOut = 32
)

// A Merge is a run that is to be made.
type Merge struct {
	Level   int
	upto    uint64  // records go into it up to this one, if it is of level 1
	runs    []int64 // that go into it, if it is not
	changes []int64 // their numbers
}

// Due returns a run that is to be made of what is in the mesh already, or nil. If
// it is needed, since the mesh has room for no more, one is made of however few
// records.
func (c *Catalog) Due(ctx context.Context, needed bool) (m *Merge, err error) {
	err = c.write(ctx, func(tx *writing) error {
		m, err = tx.due(needed)
		return err
	})
	return m, err
}

func (w *writing) due(needed bool) (*Merge, error) {
	var n, bytes int
	var upto sql.NullInt64
	err := w.row([]any{&n, &bytes, &upto}, `SELECT count(*), coalesce(sum(length(bytes)), 0), max(seq) FROM record
		WHERE seq < (SELECT coalesce(min(seq), 1 << 62) FROM record WHERE acked = 0)`)
	if err != nil {
		return nil, err
	}
	if n >= maxRecords || bytes >= maxBytes || needed {
		m := &Merge{Level: 1, upto: uint64(upto.Int64)}
		m.changes, err = w.lastOfEach(`record <= ? AND run IS NULL`, upto.Int64)
		if err != nil || len(m.changes) > 0 {
			return m, err
		}
	}
	var level int
	err = w.row([]any{&level}, `SELECT level FROM run WHERE merged IS NULL GROUP BY level HAVING count(*) >= ? ORDER BY level LIMIT 1`, fanOut)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &Merge{Level: level + 1}
	err = w.each(func(rows *sql.Rows) error {
		var run int64
		err := rows.Scan(&run)
		m.runs = append(m.runs, run)
		return err
	}, `SELECT run FROM run WHERE merged IS NULL AND level = ?`, level)
	if err == nil {
		m.changes, err = w.lastOfEach(`run IN (SELECT run FROM run WHERE merged IS NULL AND level = ?)`, level)
	}
	return m, err
}

// lastOfEach returns the numbers of the changes that are somewhere, the last one
// of each object.
func (w *writing) lastOfEach(where string, arg any) (numbers []int64, err error) {
	err = w.each(func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		numbers = append(numbers, n)
		return err
	}, `SELECT max(n) FROM change WHERE `+where+` GROUP BY object ORDER BY max(n)`, arg)
	return numbers, err
}

// WriteRun writes a run that is to be made: its changes in blocks, each after
// its length in four bytes.
func (c *Catalog) WriteRun(ctx context.Context, m *Merge, w io.Writer) error {
	block, size := new(format.LogBlock), 0
	flush := func() error {
		text, err := format.EncodeBlock(block)
		if err != nil {
			return err
		}
		block, size = new(format.LogBlock), 0
		_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
		return err
	}
	for _, n := range m.changes {
		var body []byte
		if err := c.row(ctx, `SELECT body FROM change WHERE n = ?`, n).Scan(&body); err != nil {
			return c.classify(ctx, err)
		}
		change, err := readChange(body)
		if err != nil {
			return err
		}
		if size += len(body) + 8; size > format.MaxLogBlock-64 {
			if err := flush(); err != nil {
				return err
			}
			size = len(body) + 8
		}
		block.Changes = append(block.Changes, change)
	}
	return flush()
}

// ReadRun reads a run, and calls learn with its blocks. Kinds: Serialization,
// and those of r and learn.
func ReadRun(r io.Reader, learn func(*format.LogBlock) error) error {
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > format.MaxLogBlock {
			return errs.New(errs.Serialization, "run of a catalog: a block of %d bytes, limit %d", n, format.MaxLogBlock)
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return err
		}
		block, err := format.DecodeBlock(text)
		if err != nil {
			return err
		}
		if len(block.Runs) > 0 {
			return errs.New(errs.Serialization, "run of a catalog: it names others")
		}
		if err := learn(block); err != nil {
			return err
		}
	}
}

// Made notes that a run is stored as an object, and makes the record that names
// it, and takes the place of others. It is one of those that Unsent returns. It
// does nothing, and reports so, if another process was faster.
func (c *Catalog) Made(ctx context.Context, m *Merge, id datamesh.ObjectID, seal Seal) (made bool, err error) {
	err = c.write(ctx, func(tx *writing) error {
		made = false
		base, err := tx.base()
		if err != nil || m.Level == 1 && base >= m.upto {
			return err
		}
		for _, run := range m.runs {
			var there bool
			if err := tx.row([]any{&there}, `SELECT EXISTS (SELECT 1 FROM run WHERE run = ? AND merged IS NULL)`, run); err != nil || !there {
				return err
			}
		}
		base = max(base, m.upto)
		var head uint64
		if err := tx.row([]any{&head}, `SELECT seq + 1 FROM device`); err != nil {
			return err
		}
		var run int64
		if err := tx.row([]any{&run}, `INSERT INTO run (object, level, changes) VALUES (?, ?, ?) RETURNING run`,
			id[:], m.Level, len(m.changes)); err != nil {
			return err
		}
		if err := tx.moveInto(run, m, head); err != nil {
			return err
		}
		block := new(format.LogBlock)
		err = tx.each(func(rows *sql.Rows) error {
			var id []byte
			var r format.Run
			err := rows.Scan(&id, &r.Level, &r.Changes)
			r.Object = idOf(id)
			block.Runs = append(block.Runs, r)
			return err
		}, `SELECT object, level, changes FROM run WHERE merged IS NULL ORDER BY run`)
		if err != nil {
			return err
		}
		if _, _, err := tx.newRecord(base, block, seal); err != nil {
			return err
		}
		_, err = tx.exec(`DELETE FROM record WHERE seq <= ?`, int64(base))
		made = err == nil
		return err
	})
	return made, err
}

// moveInto has the changes of what goes into a run be in that.
func (w *writing) moveInto(run int64, m *Merge, head uint64) error {
	keep := map[int64]bool{}
	for _, n := range m.changes {
		keep[n] = true
	}
	if m.Level == 1 {
		return w.moveWhere(run, keep, `run IS NULL AND record <= ?`, int64(m.upto))
	}
	for _, old := range m.runs {
		if err := w.moveWhere(run, keep, `run = ?`, old); err != nil {
			return err
		}
		if _, err := w.exec(`UPDATE run SET merged = ? WHERE run = ?`, int64(head), old); err != nil {
			return err
		}
	}
	return nil
}

// moveWhere moves changes to a run, and removes those that later ones of the
// same object have replaced.
func (w *writing) moveWhere(run int64, keep map[int64]bool, where string, arg any) error {
	var all []int64
	err := w.each(func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		all = append(all, n)
		return err
	}, `SELECT n FROM change WHERE `+where, arg)
	for _, n := range all {
		if err != nil {
			return err
		}
		if keep[n] {
			_, err = w.exec(`UPDATE change SET run = ?, record = NULL WHERE n = ?`, run, n)
		} else {
			_, err = w.exec(`DELETE FROM change WHERE n = ?`, n)
		}
	}
	return err
}

// base returns up to where records are in runs.
func (w *writing) base() (base uint64, err error) {
	var seq sql.NullInt64
	err = w.row([]any{&seq}, `SELECT min(seq) - 1 FROM record`)
	return uint64(max(seq.Int64, 0)), err
}

// Old returns the runs that no record in the mesh names any more, and whose
// objects can go.
func (c *Catalog) Old(ctx context.Context) (old []datamesh.ObjectID, err error) {
	err = c.write(ctx, func(tx *writing) error {
		old, err = tx.ids(`SELECT object FROM run WHERE merged IS NOT NULL AND level > 0 AND NOT EXISTS (SELECT 1 FROM record WHERE acked = 0 AND seq <= merged)`)
		return err
	})
	return old, err
}

// Gone notes that the object of a run is gone.
func (c *Catalog) Gone(ctx context.Context, id datamesh.ObjectID) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`DELETE FROM run WHERE object = ? AND merged IS NOT NULL`, id[:])
		return err
	})
}

// IsRun reports whether an object is a run of this device.
func (c *Catalog) IsRun(ctx context.Context, id datamesh.ObjectID) (is bool, err error) {
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM run WHERE object = ?)`, id[:]).Scan(&is)
	return is, c.classify(ctx, err)
}
