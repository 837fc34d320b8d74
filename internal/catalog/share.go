package catalog

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// shareTables are what was added to the schema for sharing. Contacts and shares
// get into the log as objects do, by ids of their own.
const shareTables = `
CREATE TABLE IF NOT EXISTS contact (
	id        BLOB    PRIMARY KEY, -- see format.ContactID
	owner     BLOB    NOT NULL UNIQUE,
	name      TEXT    NOT NULL,
	recipient TEXT    NOT NULL,
	card      INTEGER NOT NULL, -- the clock of the card that it is from
	created   INTEGER NOT NULL  -- nanoseconds since 1970 in UTC, here and below
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS share (
	id        BLOB    PRIMARY KEY, -- of the second manifest
	object    BLOB    NOT NULL,
	owner     BLOB,                -- of the contact; NULL: for whoever has the link
	name      TEXT    NOT NULL,
	size      INTEGER NOT NULL,
	created   INTEGER NOT NULL,
	expires   INTEGER NOT NULL,    -- 0: never
	stored    INTEGER NOT NULL,
	withdrawn INTEGER,             -- when it was taken back
	done      INTEGER NOT NULL,    -- the mesh has been told so
	own       INTEGER NOT NULL     -- letters of this home list it
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS share_by_object ON share (object);
`

// A Contact is somebody with whom the user shares.
type Contact struct {
	Owner     datamesh.OwnerKey
	Name      string
	Recipient string // that is sealed to, in age's text
	Card      uint64 // the clock of the card that it is from
	Created   time.Time

	Heirs    []Heir              // who have succeeded one another from him: he is the last by now
	Others   []datamesh.OwnerKey // who are said to have, and are not followed
	Disputed bool                // several are said to have succeeded one of them
}

// A Share is a second manifest of an object, for a contact or whoever has a link.
type Share struct {
	ID          datamesh.ObjectID // of that manifest
	Object      datamesh.ObjectID
	To          *datamesh.OwnerKey // nil: for whoever has the link
	Name        string             // of the object when it was shared
	Size        int64
	Created     time.Time
	Expires     time.Time // zero: never
	StoredBytes int64
	Withdrawn   bool // it was taken back
	Done        bool // the mesh has been told so
	Own         bool // letters of this home list it
	Away        bool // its object is deleted, and may be brought back
}

// Active reports whether a share can be read.
func (s *Share) Active(now time.Time) bool { return !s.Withdrawn && !s.Away && !s.Expired(now) }

// Expired reports whether its time is over.
func (s *Share) Expired(now time.Time) bool { return !s.Expires.IsZero() && !now.Before(s.Expires) }

// addShares makes what earlier versions have not.
func (c *Catalog) addShares(ctx context.Context) error {
	if has, err := c.has(ctx, "post"); err != nil || has {
		return err
	}
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(shareTables + postTables)
		return err
	})
}

// SetContact adds a contact, or takes over what is new of one. Kind: Exists
// (another has that name).
func (c *Catalog) SetContact(ctx context.Context, k Contact) error {
	id := format.ContactID(k.Owner)
	return c.write(ctx, func(tx *writing) error {
		var taken bool
		if err := tx.row([]any{&taken}, `SELECT EXISTS (SELECT 1 FROM contact WHERE name = ? AND id <> ?)`, k.Name, id[:]); err != nil {
			return err
		}
		if taken {
			return errs.New(errs.Exists, "another contact is named %s", k.Name)
		}
		if err := tx.enterContact(id, k.Owner, k.Name, k.Recipient, k.Card, k.Created.UnixNano()); err != nil {
			return err
		}
		return tx.say(id)
	})
}

func (w *writing) enterContact(id datamesh.ObjectID, owner datamesh.OwnerKey, name, recipient string, card uint64, created int64) error {
	_, err := w.exec(`INSERT OR REPLACE INTO contact (id, owner, name, recipient, card, created) VALUES (?, ?, ?, ?, ?, ?)`,
		id[:], owner[:], name, recipient, int64(card), created)
	return err
}

// RemoveContact removes a contact. Kinds: FileNotFound, Exists (something is
// shared with him).
func (c *Catalog) RemoveContact(ctx context.Context, owner datamesh.OwnerKey) error {
	id := format.ContactID(owner)
	return c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(`DELETE FROM contact WHERE id = ?`, id[:])
		if err == nil && n == 0 {
			err = errs.New(errs.FileNotFound, "there is no such contact")
		}
		if err != nil {
			return err
		}
		var shares int // with him, or whoever no other contact goes on as
		if err := tx.row([]any{&shares}, `SELECT count(*) FROM share WHERE withdrawn IS NULL AND
			(owner = ?1 OR owner IN (`+reachedFrom+`) AND owner NOT IN (`+reached+`))`, owner[:]); err != nil {
			return err
		}
		if shares > 0 {
			return errs.New(errs.Exists, "there is something shared with him, %d in all", shares)
		}
		return tx.say(id)
	})
}

// Contacts returns all contacts, by name, with those who have succeeded them.
func (c *Catalog) Contacts(ctx context.Context) (all []Contact, err error) {
	if has, err := c.has(ctx, "contact"); err != nil || !has {
		return nil, err
	}
	of, err := c.claims(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.db.QueryContext(ctx, `SELECT owner, name, recipient, card, created FROM contact ORDER BY name, owner`)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var k Contact
		var owner []byte
		var card, created int64
		if err := rows.Scan(&owner, &k.Name, &k.Recipient, &card, &created); err != nil {
			return nil, c.classify(ctx, err)
		}
		copy(k.Owner[:], owner)
		k.Card, k.Created = uint64(card), time.Unix(0, created).UTC()
		k.follow(of)
		all = append(all, k)
	}
	return all, c.classify(ctx, rows.Err())
}

// AddShare notes a share of this home. Kind: Exists.
func (c *Catalog) AddShare(ctx context.Context, s Share) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`INSERT INTO share (id, object, owner, name, size, created, expires, stored, done, own) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 1)`,
			s.ID[:], s.Object[:], ownerBytes(s.To), s.Name, s.Size, s.Created.UnixNano(), format.UnixNano(s.Expires), s.StoredBytes)
		if isUnique(err) {
			return errs.New(errs.Exists, "%v is shared", s.ID)
		}
		if err != nil {
			return err
		}
		return tx.say(s.ID)
	})
}

func ownerBytes(owner *datamesh.OwnerKey) []byte {
	if owner == nil {
		return nil
	}
	return owner[:]
}

// SetExpires gives a share another end. Kind: FileNotFound (it was taken back).
func (c *Catalog) SetExpires(ctx context.Context, id datamesh.ObjectID, expires time.Time) error {
	return c.changeShare(ctx, id, `UPDATE share SET expires = ?2, own = 1 WHERE id = ?1 AND withdrawn IS NULL`, id[:], format.UnixNano(expires))
}

// Withdraw notes that a share is taken back, before the mesh is told. Kind:
// FileNotFound.
func (c *Catalog) Withdraw(ctx context.Context, id datamesh.ObjectID, now time.Time) error {
	return c.changeShare(ctx, id, `UPDATE share SET withdrawn = coalesce(withdrawn, ?2) WHERE id = ?1`, id[:], now.UnixNano())
}

// Withdrawn notes that the mesh has been told that a share is taken back. Kind:
// FileNotFound.
func (c *Catalog) Withdrawn(ctx context.Context, id datamesh.ObjectID) error {
	return c.changeShare(ctx, id, `UPDATE share SET done = 1 WHERE id = ?1 AND withdrawn IS NOT NULL`, id[:])
}

func (c *Catalog) changeShare(ctx context.Context, id datamesh.ObjectID, statement string, args ...any) error {
	return c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(statement, args...)
		if err == nil && n == 0 {
			err = errs.New(errs.FileNotFound, "%v is no share", id)
		}
		if err != nil {
			return err
		}
		return tx.say(id)
	})
}

// withdrawAll notes that all shares of an object are taken back, which is gone.
func (w *writing) withdrawAll(object datamesh.ObjectID) error {
	all, err := w.ids(`SELECT id FROM share WHERE object = ? AND withdrawn IS NULL`, object[:])
	for _, id := range all {
		if err == nil {
			_, err = w.exec(`UPDATE share SET withdrawn = ? WHERE id = ?`, time.Now().UnixNano(), id[:])
		}
		if err == nil {
			err = w.sayOn(id)
		}
	}
	return err
}

const shareColumns = `SELECT id, object, owner, name, size, created, expires, stored, withdrawn, done, own,
	EXISTS (SELECT 1 FROM deletion WHERE deletion.id = share.object) FROM share `

// Shares returns all shares that there have been, the newest first.
func (c *Catalog) Shares(ctx context.Context) ([]Share, error) {
	rows, err := c.db.QueryContext(ctx, shareColumns+`ORDER BY created DESC, id`)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	all, err := scanShares(rows)
	return all, c.classify(ctx, err)
}

func scanShares(rows *sql.Rows) (all []Share, err error) {
	for rows.Next() {
		var s Share
		var id, object, owner []byte
		var created, expires int64
		var withdrawn sql.NullInt64
		if err := rows.Scan(&id, &object, &owner, &s.Name, &s.Size, &created, &expires, &s.StoredBytes, &withdrawn, &s.Done, &s.Own, &s.Away); err != nil {
			return nil, err
		}
		s.ID, s.Object, s.Withdrawn = idOf(id), idOf(object), withdrawn.Valid
		s.Created, s.Expires = time.Unix(0, created).UTC(), format.Time(expires)
		if owner != nil {
			s.To = new(datamesh.OwnerKey)
			copy(s.To[:], owner)
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// IsShare reports whether an id is that of a second manifest.
func (c *Catalog) IsShare(ctx context.Context, id datamesh.ObjectID) (is bool, err error) {
	err = c.row(ctx, `SELECT EXISTS (SELECT 1 FROM share WHERE id = ?)`, id[:]).Scan(&is)
	return is, c.classify(ctx, err)
}

// sharedState adds to a change what there is to say of a share, a contact or a
// succession, if its id is that of one.
func (w *writing) sharedState(change *format.Change) (*format.Change, error) {
	id := change.Object
	var object, owner []byte
	var at sql.NullInt64
	share := new(format.Share)
	err := w.row([]any{&object, &owner, &change.Name, &change.Size, &change.Created, &share.Expires, &change.Stored, &at, &change.Done},
		`SELECT object, owner, name, size, created, expires, stored, withdrawn, done FROM share WHERE id = ?`, id[:])
	if err == nil {
		if share.Of = idOf(object); owner != nil {
			share.To = new(datamesh.OwnerKey)
			copy(share.To[:], owner)
		}
		if change.Share = share; at.Valid {
			change.State, change.At = format.DeletedFinal, at.Int64
		}
		return change, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	contact, card := new(format.Contact), int64(0)
	err = w.row([]any{&owner, &change.Name, &contact.Recipient, &card, &change.Created}, `SELECT owner, name, recipient, card, created FROM contact WHERE id = ?`, id[:])
	if errors.Is(err, sql.ErrNoRows) {
		is, err := w.heirState(change)
		if err == nil && !is {
			change.State = format.Forgotten
		}
		return change, err
	}
	contact.Card = uint64(card)
	copy(contact.Owner[:], owner)
	change.Contact = contact
	return change, err
}

// enterShared makes the catalog have of a share, a contact or a succession what a
// change says.
func (w *writing) enterShared(change *format.Change) error {
	id := change.Object
	if k := change.Contact; k != nil {
		return w.enterContact(id, k.Owner, change.Name, k.Recipient, k.Card, change.Created)
	}
	if change.Succession != nil {
		return w.learnHeir(id, heirOf(change))
	}
	s := change.Share
	withdrawn := sql.NullInt64{Int64: change.At, Valid: change.State != format.Listed}
	_, err := w.exec(`INSERT INTO share (id, object, owner, name, size, created, expires, stored, withdrawn, done, own) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
		ON CONFLICT (id) DO UPDATE SET object = excluded.object, expires = excluded.expires, withdrawn = excluded.withdrawn, done = excluded.done`,
		id[:], s.Of[:], ownerBytes(s.To), change.Name, change.Size, change.Created, s.Expires, change.Stored, withdrawn, change.Done)
	return err
}

// forgetShared removes the contact of an id, if it is that of one. A share is
// never forgotten: what has become of it is for its letters to say.
func (w *writing) forgetShared(id datamesh.ObjectID) error {
	_, err := w.exec(`DELETE FROM contact WHERE id = ?`, id[:])
	return err
}
