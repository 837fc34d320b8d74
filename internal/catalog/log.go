package catalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"datamesh"
	"datamesh/internal/format"
)

// logTables are what was added to the schema for the log of the catalog, by
// which all devices of its owner come to have the same.
//
// What changes here is said in the transaction that changes it. A change waits
// until it gets into a record of this device; when there are many records their
// changes go into a run, and the runs of a level into one of the next. Records
// and runs are what the mesh has; what they consist of is kept here, too, so
// that nothing has to be read to make others of it.
const logTables = `
CREATE TABLE IF NOT EXISTS device (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	id    BLOB    NOT NULL, -- 16 bytes, random
	clock INTEGER NOT NULL, -- the greatest known
	seq   INTEGER NOT NULL  -- of the last record
) STRICT;
CREATE TABLE IF NOT EXISTS said ( -- the change that holds, of each object
	object BLOB    PRIMARY KEY,
	clock  INTEGER NOT NULL,
	device BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
	n      INTEGER PRIMARY KEY AUTOINCREMENT,
	object BLOB    NOT NULL,
	body   BLOB    NOT NULL,
	record INTEGER,          -- that it is in
	run    INTEGER           -- likewise, and then in no record
) STRICT;
CREATE INDEX IF NOT EXISTS change_by_object ON change (object);
CREATE INDEX IF NOT EXISTS change_by_place ON change (run, record);
CREATE TABLE IF NOT EXISTS record (
	seq   INTEGER PRIMARY KEY,
	base  INTEGER NOT NULL,
	bytes BLOB    NOT NULL,
	acked INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS run (
	run     INTEGER PRIMARY KEY AUTOINCREMENT,
	object  BLOB    NOT NULL,
	level   INTEGER NOT NULL, -- 0: of an id that this device has no longer
	changes INTEGER NOT NULL,
	merged  INTEGER           -- the first record that does not name it any more
) STRICT;
CREATE TABLE IF NOT EXISTS met ( -- what was learnt from other devices
	device BLOB NOT NULL,
	what   BLOB NOT NULL, -- the digest of a record, or the id of a run
	PRIMARY KEY (device, what)
) STRICT, WITHOUT ROWID;
`

// addLog makes what earlier versions have not, and says in the log what is
// there already.
func (c *Catalog) addLog(ctx context.Context) error {
	if has, err := c.has(ctx, "device"); err != nil || has {
		return err
	}
	return c.write(ctx, func(tx *writing) error {
		if _, err := tx.exec(additions); err != nil {
			return err
		}
		id := newDevice()
		n, err := tx.exec(`INSERT INTO device (one, id, clock, seq) VALUES (1, ?, 1, 0) ON CONFLICT DO NOTHING`, id[:])
		if err != nil || n == 0 {
			return err
		}
		all, err := tx.ids(`SELECT id FROM object ORDER BY row`)
		for _, id := range all {
			if err == nil {
				err = tx.say(id)
			}
		}
		return err
	})
}

// A DeviceID tells the homes of one owner apart.
type DeviceID = [16]byte

func newDevice() (id DeviceID) {
	rand.Read(id[:]) // never fails
	return id
}

// say puts into the log what the catalog has of an object now.
func (w *writing) say(id datamesh.ObjectID) error {
	return w.sayAt(id, max(1, format.ClockOf(time.Now().UnixMilli())))
}

// sayOn is as say, of what rests on what was said last, and counts for less than
// whatever another device has said since.
func (w *writing) sayOn(id datamesh.ObjectID) error {
	var last int64
	err := w.row([]any{&last}, `SELECT clock FROM said WHERE object = ?`, id[:])
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	clock, device, err := w.device()
	if err != nil {
		return err
	}
	return w.put(id, uint64(last)+1, max(clock, uint64(last)+1), device)
}

// sayAt is as say, with a clock that is greater than all that is known, and not
// less than that.
func (w *writing) sayAt(id datamesh.ObjectID, least uint64) error {
	last, device, err := w.device()
	if err != nil {
		return err
	}
	clock := max(last+1, least)
	return w.put(id, clock, clock, device)
}

// put puts what the catalog has of an object into the log, with that clock.
func (w *writing) put(id datamesh.ObjectID, clock, known uint64, device DeviceID) error {
	if _, err := w.exec(`UPDATE device SET clock = ?`, int64(known)); err != nil {
		return err
	}
	change, err := w.stateOf(id)
	if err != nil {
		return err
	}
	change.Clock = clock
	if change.State == format.Forgotten {
		if _, err := w.exec(`DELETE FROM deletion WHERE id = ?`, id[:]); err != nil {
			return err
		}
	}
	if _, err := w.exec(`DELETE FROM change WHERE object = ? AND record IS NULL AND run IS NULL`, id[:]); err != nil {
		return err
	}
	if _, err := w.exec(`INSERT INTO change (object, body) VALUES (?, ?)`, id[:], format.Marshal(change)); err != nil {
		return err
	}
	return w.hold(id, clock, device)
}

// device returns the greatest clock that is known, and this device.
func (w *writing) device() (clock uint64, device DeviceID, err error) {
	var last int64
	var id []byte
	err = w.row([]any{&id, &last}, `SELECT id, clock FROM device`)
	copy(device[:], id)
	return uint64(last), device, err
}

// hold notes which change of an object holds.
func (w *writing) hold(id datamesh.ObjectID, clock uint64, device DeviceID) error {
	_, err := w.exec(`INSERT OR REPLACE INTO said (object, clock, device) VALUES (?, ?, ?)`, id[:], int64(clock), device[:])
	return err
}

// stateOf returns what there is to say of an object.
func (w *writing) stateOf(id datamesh.ObjectID) (*format.Change, error) {
	change := &format.Change{Object: id}
	if err := w.history(change); err != nil {
		return nil, err
	}
	var tags, names string
	var at, word sql.NullInt64
	var final, done sql.NullBool
	err := w.row([]any{&change.Name, &change.Size, &tags, &change.Created, &change.Stored, &change.Type, &change.Mode, &change.ModTime,
		&change.Pinned, &names, &at, &word, &final, &done}, `SELECT `+columns[len("id, "):]+further+`, deleted, word, final, done FROM object LEFT JOIN deletion USING (id) WHERE id = ?`, id[:])
	if errors.Is(err, sql.ErrNoRows) {
		return w.sharedState(change)
	}
	if err != nil {
		return nil, err
	}
	if at.Valid {
		change.State, change.At, change.Word, change.Done = format.Deleted, at.Int64, uint64(word.Int64), done.Bool
		if final.Bool {
			change.State = format.DeletedFinal
		}
	}
	if err := json.Unmarshal([]byte(names), &change.Further); err != nil {
		return nil, err
	}
	return change, json.Unmarshal([]byte(tags), &change.Tags)
}

// Device returns the id of this device.
func (c *Catalog) Device(ctx context.Context) (id DeviceID, err error) {
	var b []byte
	err = c.row(ctx, `SELECT id FROM device`).Scan(&b)
	copy(id[:], b)
	return id, c.classify(ctx, err)
}

// A Seal makes a record of a block, and returns its bytes. It is called while nobody
// else can write to the catalog: it must not wait for anybody who does, as for a lock
// that is held around a call of the catalog. It may be called twice for one record.
type Seal func(device DeviceID, seq, base uint64, block *format.LogBlock) ([]byte, error)

// An Outgoing is one of this device's records that the mesh is not known to have.
type Outgoing struct {
	Seq   uint64 // its number
	Bytes []byte // the same for ever
	Last  bool   // nothing else that was said before waits to be sent
}

// Unsent returns a record that the mesh is not known to have: one that takes the
// place of others if there is any, else the first. It makes one of what was said
// since the last, if there is anything. It returns nil if all is in the mesh.
func (c *Catalog) Unsent(ctx context.Context, seal Seal) (out *Outgoing, err error) {
	var waits bool // mostly nothing does, since others have sent it: to see that nobody must wait for who writes
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM record WHERE acked = 0) OR EXISTS (SELECT 1 FROM change WHERE run IS NULL AND record IS NULL)`).Scan(&waits)
	if err != nil || !waits {
		return nil, c.classify(ctx, err)
	}
	err = c.write(ctx, func(tx *writing) error {
		out = nil
		var o Outgoing
		err := tx.row([]any{&o.Seq, &o.Bytes}, `SELECT seq, bytes FROM record WHERE acked = 0 ORDER BY base DESC, seq LIMIT 1`)
		if err == nil {
			out = &o
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		block := new(format.LogBlock)
		var last int64
		size := 0
		err = tx.each(func(rows *sql.Rows) error {
			var n int64
			var body []byte
			if err := rows.Scan(&n, &body); err != nil {
				return err
			}
			if size += len(body) + 8; size > format.MaxLogBlock-64 {
				return errEnough
			}
			change, err := readChange(body)
			block.Changes, last = append(block.Changes, change), n
			return err
		}, `SELECT n, body FROM change WHERE run IS NULL AND record IS NULL ORDER BY n`)
		o.Last = err == nil
		if err != nil && !errors.Is(err, errEnough) || len(block.Changes) == 0 {
			return err
		}
		if o.Seq, o.Bytes, err = tx.newRecord(0, block, seal); err != nil {
			return err
		}
		out = &o
		_, err = tx.exec(`UPDATE change SET record = ? WHERE run IS NULL AND record IS NULL AND n <= ?`, int64(o.Seq), last)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

var errEnough = errors.New("enough")

// readChange reads a change that is in the log here.
func readChange(body []byte) (change format.Change, err error) {
	err = format.Unmarshal("change", body, format.MaxLogBlock, &change)
	return change, err
}

// newRecord makes this device's next record.
func (w *writing) newRecord(base uint64, block *format.LogBlock, seal Seal) (seq uint64, record []byte, err error) {
	var id []byte
	if err := w.row([]any{&id, &seq}, `UPDATE device SET seq = seq + 1 RETURNING id, seq`); err != nil {
		return 0, nil, err
	}
	if record, err = seal(DeviceID(id), seq, base, block); err != nil {
		return 0, nil, err
	}
	_, err = w.exec(`INSERT INTO record (seq, base, bytes, acked) VALUES (?, ?, ?, 0)`, int64(seq), int64(base), record)
	return seq, record, err
}

// Sent notes that the mesh has a record of a device, if this still is that one.
func (c *Catalog) Sent(ctx context.Context, device DeviceID, seq uint64) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`UPDATE record SET acked = 1 WHERE seq = ? AND EXISTS (SELECT 1 FROM device WHERE id = ?)`, int64(seq), device[:])
		return err
	})
}

// Refused notes that the mesh has another record of that number of a device, or
// later ones in its place. If this still is that device, and another process has
// not sent that record meanwhile, it is an old copy of another's home, and takes
// another id, as it reports.
func (c *Catalog) Refused(ctx context.Context, device DeviceID, seq uint64) (renewed bool, err error) {
	err = c.write(ctx, func(tx *writing) error {
		err := tx.row([]any{&renewed}, `SELECT EXISTS (SELECT 1 FROM record WHERE seq = ? AND acked = 0) AND EXISTS (SELECT 1 FROM device WHERE id = ?)`,
			int64(seq), device[:])
		if err != nil || !renewed {
			return err
		}
		return tx.renew()
	})
	return renewed, err
}

// IsOld reports whether a record of this device, which the mesh has, was never
// made here, so that this home is an old copy of another; then it takes another id.
func (c *Catalog) IsOld(ctx context.Context, device DeviceID, seq uint64, record []byte) (renewed bool, err error) {
	err = c.write(ctx, func(tx *writing) error {
		err := tx.row([]any{&renewed}, `SELECT EXISTS (SELECT 1 FROM device WHERE id = ?1 AND
			(seq < ?2 OR EXISTS (SELECT 1 FROM record WHERE record.seq = ?2 AND bytes <> ?3)))`, device[:], int64(seq), record)
		if err != nil || !renewed {
			return err
		}
		return tx.renew()
	})
	return renewed, err
}

// renew gives this device another id. What the mesh has of the old one is to be
// learnt from there; what it is not known to have is said again. The runs stay
// known, so that nobody takes them for leftovers.
func (w *writing) renew() error {
	id := newDevice()
	for _, statement := range []string{
		`DELETE FROM change WHERE run IS NOT NULL OR record IN (SELECT seq FROM record WHERE acked = 1)`,
		`UPDATE change SET record = NULL`,
		`DELETE FROM record`,
		`UPDATE run SET merged = 0 WHERE merged IS NULL`,
		`UPDATE run SET level = 0`,
	} {
		if _, err := w.exec(statement); err != nil {
			return err
		}
	}
	_, err := w.exec(`UPDATE device SET id = ?, seq = 0`, id[:])
	return err
}

// A Source is where changes of another device come from: a record, by its
// digest, or a run, by its id.
type Source struct {
	Device DeviceID
	What   [32]byte
}

// Knows reports whether a source was learnt from.
func (c *Catalog) Knows(ctx context.Context, s Source) (known bool, err error) {
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM met WHERE device = ? AND what = ?)`, s.Device[:], s.What[:]).Scan(&known)
	return known, c.classify(ctx, err)
}

// Met notes that all that a source says was learnt.
func (c *Catalog) Met(ctx context.Context, s Source) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`INSERT INTO met (device, what) VALUES (?, ?) ON CONFLICT DO NOTHING`, s.Device[:], s.What[:])
		return err
	})
}

// Learn takes over what another device has said, and returns how many objects
// are otherwise now. In whatever order, and however often, changes are learnt:
// all who have learnt the same have the same catalog.
func (c *Catalog) Learn(ctx context.Context, device DeviceID, changes []format.Change) (changed int, err error) {
	err = c.write(ctx, func(tx *writing) error {
		changed = 0
		for i := range changes {
			holds, err := tx.learn(device, &changes[i])
			if err != nil {
				return err
			}
			if holds {
				changed++
			}
		}
		return nil
	})
	return changed, err
}

// learn takes over a change of another device, if it holds.
func (w *writing) learn(device DeviceID, change *format.Change) (holds bool, err error) {
	var clock int64
	var by []byte
	err = w.row([]any{&clock, &by}, `SELECT clock, device FROM said WHERE object = ?`, change.Object[:])
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if err == nil && (uint64(clock) > change.Clock || uint64(clock) == change.Clock && bytes.Compare(by, device[:]) >= 0) {
		if change.State != format.Listed {
			err = w.dispute(change.Object)
		}
		if err == nil && (change.State == format.Deleted || change.State == format.DeletedFinal) {
			err = w.disputeReplaced(change.Object)
		}
		if err == nil && change.Succession != nil { // of which all counts that was ever said
			err = w.learnHeir(change.Object, heirOf(change))
		}
		return false, err
	}
	if err := w.enter(change); err != nil {
		return false, err
	}
	if _, err := w.exec(`UPDATE device SET clock = max(clock, ?)`, int64(change.Clock)); err != nil {
		return false, err
	}
	return true, w.hold(change.Object, change.Clock, device)
}

// enter makes the catalog have of an object what a change says.
func (w *writing) enter(change *format.Change) error {
	id := change.Object[:]
	if err := w.remember(change); err != nil {
		return err
	}
	deleted, err := w.exec(`DELETE FROM deletion WHERE id = ?`, id)
	if err != nil {
		return err
	}
	if deleted > 0 && change.State == format.Listed {
		if err := w.dispute(change.Object); err != nil {
			return err
		}
	}
	if change.State == format.Forgotten {
		if err := w.forgetShared(change.Object); err != nil {
			return err
		}
		if err := w.leave(id); err != nil || deleted == 0 {
			return err
		}
		return w.disputeReplaced(change.Object)
	}
	if change.Share != nil || change.Contact != nil || change.Succession != nil {
		return w.enterShared(change)
	}
	e := entryOf(change)
	if err := w.insert(&e, `ON CONFLICT (id) DO UPDATE SET name = excluded.name, size = excluded.size, tags = excluded.tags,
		created = excluded.created, stored = excluded.stored, type = excluded.type, mode = excluded.mode, modified = excluded.modified,
		pinned = excluded.pinned`); err != nil || change.State == format.Listed {
		return err
	}
	_, err = w.exec(`INSERT INTO deletion (id, deleted, word, final, done) VALUES (?, ?, ?, ?, ?)`,
		id, change.At, int64(change.Word), change.State == format.DeletedFinal, change.Done)
	return err
}

func entryOf(change *format.Change) Entry {
	return Entry{ID: change.Object, Name: change.Name, Size: change.Size, Tags: change.Tags, Created: time.Unix(0, change.Created),
		StoredBytes: change.Stored, Type: change.Type, Mode: change.Mode, ModTime: format.Time(change.ModTime),
		Pinned: change.Pinned, Further: change.Further}
}
