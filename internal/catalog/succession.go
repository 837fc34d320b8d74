package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/format"
)

// successionTable was added to the schema when an owner could go on as another.
// It is a set that only grows: of its rows the times only get less, and the cards
// newer. So all who have learnt the same have the same.
const successionTable = `
CREATE TABLE IF NOT EXISTS succession (
	id        BLOB    PRIMARY KEY, -- see format.SuccessionID
	old       BLOB    NOT NULL,
	new       BLOB    NOT NULL,
	consent   BLOB    NOT NULL, -- the signature of the new one
	learnt    INTEGER NOT NULL, -- the clock when one of the user's homes first knew of it
	recipient TEXT    NOT NULL, -- of the new one; '': not known yet
	card      INTEGER NOT NULL, -- the clock of the card that it is from
	created   INTEGER NOT NULL  -- nanoseconds since 1970 in UTC
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told ( -- of which this home has told its user
	id BLOB PRIMARY KEY -- see format.SuccessionID
) STRICT, WITHOUT ROWID;
`

// MaxHeirs is how many owners are followed, one after the other, from one.
const MaxHeirs = 8

// maxClaims is how many successors of one owner a home learns of from cards: more
// than one say that none can be relied on, and more than two say no more.
const maxClaims = 2

// An Heir is who an owner goes on as.
type Heir struct {
	format.Succession
	Created time.Time // when it was first known
}

// A claim is all successors of one owner that are known, the first to be known
// before others.
type claim []Heir

// holds returns the one that was known before all others, or nil: none is followed
// of two that were first seen together.
func (c claim) holds() *Heir {
	if len(c) == 0 || len(c) > 1 && c[0].Learnt == c[1].Learnt {
		return nil
	}
	return &c[0]
}

const heirColumns = `SELECT old, new, consent, learnt, recipient, card, created FROM succession `

func scanHeir(scan func(into ...any) error) (h Heir, err error) {
	var from, to, consent []byte
	var learnt, card, created int64
	err = scan(&from, &to, &consent, &learnt, &h.Recipient, &card, &created)
	copy(h.From[:], from)
	copy(h.To.Owner[:], to)
	copy(h.To.Consent[:], consent)
	h.Learnt, h.Card, h.Created = uint64(learnt), uint64(card), time.Unix(0, created).UTC()
	return h, err
}

// claims returns what is known of all owners.
func (c *Catalog) claims(ctx context.Context) (map[datamesh.OwnerKey]claim, error) {
	if has, err := c.has(ctx, "succession"); err != nil || !has {
		return nil, err
	}
	rows, err := c.db.QueryContext(ctx, heirColumns+`ORDER BY old, learnt, new`)
	if err != nil {
		return nil, c.classify(ctx, err)
	}
	defer rows.Close()
	all := map[datamesh.OwnerKey]claim{}
	for rows.Next() {
		h, err := scanHeir(rows.Scan)
		if err != nil {
			return nil, c.classify(ctx, err)
		}
		all[h.From] = append(all[h.From], h)
	}
	return all, c.classify(ctx, rows.Err())
}

// follow has a contact have those who have succeeded him.
func (k *Contact) follow(of map[datamesh.OwnerKey]claim) {
	for {
		now, _ := k.Now()
		known := of[now]
		k.Disputed = k.Disputed || len(known) > 1
		heir := known.holds()
		for i := range known {
			if h := &known[i]; h != heir && !k.Follows(h.To.Owner) {
				k.Others = append(k.Others, h.To.Owner)
			}
		}
		if heir == nil || k.Follows(heir.To.Owner) || len(k.Heirs) == MaxHeirs {
			return
		}
		k.Heirs = append(k.Heirs, *heir)
	}
}

// Now returns who a contact is by now, and what is sealed to him: "" if that is
// not known yet.
func (k *Contact) Now() (owner datamesh.OwnerKey, recipient string) {
	if n := len(k.Heirs); n > 0 {
		return k.Heirs[n-1].To.Owner, k.Heirs[n-1].Recipient
	}
	return k.Owner, k.Recipient
}

// Owners returns who a contact was, and is, in that order.
func (k *Contact) Owners() []datamesh.OwnerKey {
	all := []datamesh.OwnerKey{k.Owner}
	for i := range k.Heirs {
		all = append(all, k.Heirs[i].To.Owner)
	}
	return all
}

// Follows reports whether an owner is who a contact was, or is.
func (k *Contact) Follows(owner datamesh.OwnerKey) bool { return slices.Contains(k.Owners(), owner) }

// Heir returns who an owner goes on as, or nil, and whether there are several who
// are said to be that.
func (c *Catalog) Heir(ctx context.Context, owner datamesh.OwnerKey) (heir *Heir, disputed bool, err error) {
	all, err := c.claims(ctx)
	known := all[owner]
	return known.holds(), len(known) > 1, err
}

// Claim notes the successors that cards of an owner name, and reports whether
// there are any that were not known. The first that is known of holds; of several
// that are seen together none does.
func (c *Catalog) Claim(ctx context.Context, from datamesh.OwnerKey, to []format.Successor, now time.Time) (more bool, err error) {
	if len(to) == 0 {
		return false, nil
	}
	err = c.write(ctx, func(tx *writing) error {
		more = false
		var known int
		if err := tx.row([]any{&known}, `SELECT count(*) FROM succession WHERE old = ?`, from[:]); err != nil {
			return err
		}
		last, _, err := tx.device()
		if err != nil {
			return err
		}
		h := Heir{Created: now}
		h.From, h.Learnt = from, max(last+1, format.ClockOf(now.UnixMilli()))
		for _, s := range to {
			id := format.SuccessionID(from, s.Owner)
			var has bool
			if err := tx.row([]any{&has}, `SELECT EXISTS (SELECT 1 FROM succession WHERE id = ?)`, id[:]); err != nil {
				return err
			}
			if has || known >= maxClaims {
				continue
			}
			h.To = s
			if err := tx.enterHeir(id, h); err != nil {
				return err
			}
			if err := tx.sayAt(id, h.Learnt); err != nil {
				return err
			}
			known++
			more = true
		}
		return nil
	})
	return more, err
}

// SetHeir takes over what a newer card of a successor says is sealed to him.
func (c *Catalog) SetHeir(ctx context.Context, h Heir) error {
	id := format.SuccessionID(h.From, h.To.Owner)
	return c.write(ctx, func(tx *writing) error {
		if err := tx.learnHeir(id, h); err != nil {
			return err
		}
		return tx.say(id)
	})
}

// Tell notes that the user is told whom a contact goes on as, and reports whether
// this home had not told him.
func (c *Catalog) Tell(ctx context.Context, h Heir) (anew bool, err error) {
	id := format.SuccessionID(h.From, h.To.Owner)
	err = c.write(ctx, func(tx *writing) error {
		n, err := tx.exec(`INSERT INTO told (id) VALUES (?) ON CONFLICT DO NOTHING`, id[:])
		anew = n > 0
		return err
	})
	return anew, err
}

func (w *writing) enterHeir(id datamesh.ObjectID, h Heir) error {
	_, err := w.exec(`INSERT OR REPLACE INTO succession (id, old, new, consent, learnt, recipient, card, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		id[:], h.From[:], h.To.Owner[:], h.To.Consent[:], int64(h.Learnt), h.Recipient, int64(h.Card), h.Created.UnixNano())
	return err
}

// learnHeir adds to what is known of a succession what another home, or a card,
// says of it.
func (w *writing) learnHeir(id datamesh.ObjectID, h Heir) error {
	was, err := w.heir(id)
	if errors.Is(err, sql.ErrNoRows) {
		return w.enterHeir(id, h)
	}
	if err != nil {
		return err
	}
	h.Learnt = min(h.Learnt, was.Learnt)
	if was.Created.Before(h.Created) {
		h.Created = was.Created
	}
	if bytes.Compare(was.To.Consent[:], h.To.Consent[:]) < 0 {
		h.To.Consent = was.To.Consent
	}
	if was.Card > h.Card || was.Card == h.Card && was.Recipient > h.Recipient {
		h.Card, h.Recipient = was.Card, was.Recipient
	}
	return w.enterHeir(id, h)
}

// heir returns what is known of a succession.
func (w *writing) heir(id datamesh.ObjectID) (Heir, error) {
	return scanHeir(func(into ...any) error { return w.row(into, heirColumns+`WHERE id = ?`, id[:]) })
}

// heirState adds to a change what there is to say of a succession, if its id is
// that of one, and reports whether it is.
func (w *writing) heirState(change *format.Change) (is bool, err error) {
	h, err := w.heir(change.Object)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	change.Created, change.Succession = h.Created.UnixNano(), &h.Succession
	return true, err
}

func heirOf(change *format.Change) Heir {
	return Heir{*change.Succession, time.Unix(0, change.Created).UTC()}
}

// successor returns whom the cards of an owner name as his successor, or nil. If
// two homes of his have each named one, all come to repeat the same.
func (w *writing) successor(owner datamesh.OwnerKey) (*format.Successor, error) {
	s := new(format.Successor)
	var to, consent []byte
	err := w.row([]any{&to, &consent}, `SELECT new, consent FROM succession WHERE old = ? ORDER BY learnt, new LIMIT 1`, owner[:])
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	copy(s.Owner[:], to)
	copy(s.Consent[:], consent)
	return s, err
}

// reached are the owners who are contacts, or are said to have succeeded one.
const reached = `WITH RECURSIVE reached (owner) AS (SELECT owner FROM contact
	UNION SELECT new FROM succession JOIN reached ON old = reached.owner) SELECT owner FROM reached`

// reachedFrom are an owner, and those who are said to have succeeded him.
const reachedFrom = `WITH RECURSIVE reached (owner) AS (SELECT CAST(?1 AS BLOB)
	UNION SELECT new FROM succession JOIN reached ON old = reached.owner) SELECT owner FROM reached`

// recipientOf returns what is sealed to an owner who is a contact, or is said to
// have succeeded one; "": that is not known yet.
func (w *writing) recipientOf(owner datamesh.OwnerKey) (recipient string, err error) {
	err = w.row([]any{&recipient}, `SELECT recipient FROM (SELECT recipient, card FROM contact WHERE owner = ?1
		UNION ALL SELECT recipient, card FROM succession WHERE new = ?1 AND recipient <> '') ORDER BY card DESC LIMIT 1`, owner[:])
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return recipient, err
}
