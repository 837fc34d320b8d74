package catalog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// postTables are for what this home has in the mesh for others: its card, and
// letters to contacts. They are records of a device of their own, and are kept
// here until the mesh has them.
const postTables = `
CREATE TABLE IF NOT EXISTS mail (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	id   BLOB    NOT NULL, -- 16 bytes, random
	seq  INTEGER NOT NULL, -- of the last record
	base INTEGER NOT NULL  -- up to which none counts
) STRICT;
CREATE TABLE IF NOT EXISTS post (
	seq   INTEGER PRIMARY KEY,
	base  INTEGER NOT NULL,
	bytes BLOB    NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS posted ( -- what was last said to each
	owner  BLOB PRIMARY KEY, -- of the contact; empty: the card
	digest BLOB NOT NULL
) STRICT, WITHOUT ROWID;
`

const (
	maxPosts  = 120 // records of the card and all letters
	manyPosts = 128 // that count, after which all is said anew
)

// A Postmaster makes records for others.
type Postmaster struct {
	Owner  datamesh.OwnerKey
	Card   []string // the owner's recipients
	Letter func(l *format.Letter, recipient string) (payload []byte, err error)
	Record func(device DeviceID, seq, base uint64, payload []byte) ([]byte, error)
}

// UnsentPost returns a record for others that the mesh is not known to have, and
// its number. It makes some if what is to be said is other than what was said last.
// With only it does so only if this home has said something before. The bytes of
// a number are the same for ever. It returns nil if all is in the mesh. Kind: Full (too much is shared).
func (c *Catalog) UnsentPost(ctx context.Context, p Postmaster, only bool, now time.Time) (record []byte, err error) {
	err = c.write(ctx, func(tx *writing) error {
		if only {
			var has bool
			if err := tx.row([]any{&has}, `SELECT EXISTS (SELECT 1 FROM mail)`); err != nil || !has {
				return err
			}
		}
		if record, err = tx.nextPost(); err != nil || record != nil {
			return err
		}
		if err := tx.writePosts(p, now); err != nil {
			return err
		}
		record, err = tx.nextPost()
		return err
	})
	return record, err
}

// nextPost returns the record that is to be sent next: one that takes the place
// of others comes last, since they count until then.
func (w *writing) nextPost() (record []byte, err error) {
	err = w.row([]any{&record}, `SELECT bytes FROM post ORDER BY seq LIMIT 1`)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return record, err
}

// A posting is what is said to one.
type posting struct {
	owner     []byte // nil: to all
	recipient string
	digest    [32]byte
	card      *format.Card
	letters   []*format.Letter
}

// writePosts makes records of what is to be said and was not, or of all if there
// are many that count.
func (w *writing) writePosts(p Postmaster, now time.Time) error {
	last, _, err := w.device()
	if err != nil {
		return err
	}
	clock := max(last+1, format.ClockOf(now.UnixMilli()))
	all, err := w.postings(p, clock, now)
	if err != nil {
		return err
	}
	id := newDevice()
	if _, err := w.exec(`INSERT INTO mail (one, id, seq, base) VALUES (1, ?, 0, 0) ON CONFLICT DO NOTHING`, id[:]); err != nil {
		return err
	}
	var device []byte
	var seq, base int64
	if err := w.row([]any{&device, &seq, &base}, `SELECT id, seq, base FROM mail`); err != nil {
		return err
	}
	anew := seq-base >= manyPosts
	payloads, err := w.newPayloads(p, all, anew)
	if err != nil || len(payloads) == 0 {
		return err
	}
	for i, payload := range payloads {
		var instead int64 // the last of them takes the place of all before
		if anew && i == len(payloads)-1 {
			instead = seq
		}
		n := seq + int64(i) + 1
		record, err := p.Record(DeviceID(device), uint64(n), uint64(instead), payload)
		if err != nil {
			return err
		}
		if _, err := w.exec(`INSERT INTO post (seq, base, bytes) VALUES (?, ?, ?)`, n, instead, record); err != nil {
			return err
		}
	}
	if anew {
		base = seq
	}
	if _, err := w.exec(`UPDATE device SET clock = max(clock, ?)`, int64(clock)); err != nil {
		return err
	}
	_, err = w.exec(`UPDATE mail SET seq = ?, base = ?`, seq+int64(len(payloads)), base)
	return err
}

// newPayloads returns those of the records that are to be made, and notes that
// what they say is said.
func (w *writing) newPayloads(p Postmaster, all []posting, anew bool) (payloads [][]byte, err error) {
	for _, one := range all {
		var said []byte
		err := w.row([]any{&said}, `SELECT digest FROM posted WHERE owner = ?`, one.key())
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if string(said) == string(one.digest[:]) && !anew {
			continue
		}
		if one.card != nil {
			payload, err := format.EncodeCard(one.card)
			if err != nil {
				return nil, err
			}
			payloads = append(payloads, payload)
		}
		for _, l := range one.letters {
			payload, err := p.Letter(l, one.recipient)
			if err != nil {
				return nil, err
			}
			payloads = append(payloads, payload)
		}
		if _, err := w.exec(`INSERT OR REPLACE INTO posted (owner, digest) VALUES (?, ?)`, one.key(), one.digest[:]); err != nil {
			return nil, err
		}
	}
	return payloads, nil
}

// key is how a posting is remembered.
func (p *posting) key() []byte { return append([]byte{}, p.owner...) }

// postings returns the card, and what is to be said to each contact with whom
// anything is, or was, shared. Kind: Full.
func (w *writing) postings(p Postmaster, clock uint64, now time.Time) ([]posting, error) {
	rows, err := w.query(shareColumns + `WHERE owner IN (` + reached + `) ORDER BY created DESC, id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	shares, err := scanShares(rows)
	if err != nil {
		return nil, err
	}
	var order []datamesh.OwnerKey
	listed, gone := map[datamesh.OwnerKey][]format.Shared{}, map[datamesh.OwnerKey][]datamesh.ObjectID{}
	for _, s := range shares {
		if _, known := listed[*s.To]; !known {
			listed[*s.To] = nil
			order = append(order, *s.To)
		}
		switch active := s.Active(now); {
		case active && s.Own:
			listed[*s.To] = append(listed[*s.To], format.Shared{Object: s.ID, Name: s.Name, Size: s.Size,
				Created: s.Created.UnixNano(), Expires: format.UnixNano(s.Expires)})
		case !active && !s.Own:
			gone[*s.To] = append(gone[*s.To], s.ID)
		}
	}
	card := &format.Card{Clock: clock, Recipients: p.Card}
	says := p.Card
	if card.Successor, err = w.successor(p.Owner); err != nil {
		return nil, err
	}
	if card.Successor != nil {
		says = append(slices.Clone(says), card.Successor.Owner.String())
	}
	all := []posting{{digest: digestOf(says, nil, nil), card: card}}
	total := 1
	for _, owner := range order {
		said := posting{owner: owner[:]}
		if said.recipient, err = w.recipientOf(owner); err != nil {
			return nil, err
		}
		if said.recipient == "" {
			continue // a successor with whom another home has shared, of whom nothing else is known
		}
		said.digest = digestOf([]string{said.recipient}, listed[owner], gone[owner])
		if said.letters, err = format.Letters(p.Owner, clock, listed[owner], gone[owner]); err != nil {
			return nil, err
		}
		total += len(said.letters)
		all = append(all, said)
	}
	if total > maxPosts {
		return nil, errs.WithHint(errs.New(errs.Full, "what is shared takes %d letters; there is room for %d", total, maxPosts),
			`share less: see "datamesh list --shared"`)
	}
	return all, nil
}

// SayCardAgain has the card be among what is said next, though it was said before:
// the mesh may have lost it.
func (c *Catalog) SayCardAgain(ctx context.Context) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`DELETE FROM posted WHERE owner = ?`, (&posting{}).key())
		return err
	})
}

func digestOf(recipients []string, shares []format.Shared, gone []datamesh.ObjectID) [32]byte {
	return sha256.Sum256(format.Marshal([]any{recipients, shares, gone}))
}

// SentPost notes that the mesh has a record of a device, if this still is that one.
func (c *Catalog) SentPost(ctx context.Context, device DeviceID, seq uint64) error {
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`DELETE FROM post WHERE seq = ? AND EXISTS (SELECT 1 FROM mail WHERE id = ?)`, int64(seq), device[:])
		return err
	})
}

// RefusedPost notes that the mesh has another record of that number of a device.
// If this still is that device it takes another id, as it reports, and says all anew.
func (c *Catalog) RefusedPost(ctx context.Context, device DeviceID, seq uint64) (renewed bool, err error) {
	err = c.write(ctx, func(tx *writing) error {
		err := tx.row([]any{&renewed}, `SELECT EXISTS (SELECT 1 FROM post WHERE seq = ?) AND EXISTS (SELECT 1 FROM mail WHERE id = ?)`, int64(seq), device[:])
		if err != nil || !renewed {
			return err
		}
		id := newDevice()
		for _, statement := range []string{`DELETE FROM post`, `DELETE FROM posted`} {
			if _, err := tx.exec(statement); err != nil {
				return err
			}
		}
		_, err = tx.exec(`UPDATE mail SET id = ?, seq = 0, base = 0`, id[:])
		return err
	})
	return renewed, err
}
