// Package catalog remembers what a user has stored: names, tags, sizes and
// the ids by which the mesh knows the objects.
//
// It is one SQLite database in the user's home. A row that Add has accepted
// survives a crash of the machine. Several processes may have a catalog open
// at once. The names in it are plain text: the file is for its user alone, and
// no part of it is given to other peers.
package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"sync"
	"time"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
)

// MaxName is the number of bytes that a name may have.
const MaxName = 4096

// An Entry is one object of the catalog.
type Entry struct {
	ID          datamesh.ObjectID
	Name        string // valid UTF-8; "" for none; several objects may share one
	Size        int64  // of the content
	Tags        []string
	Created     time.Time
	StoredBytes int64 // of all its shards
	Epoch       int   // of the recipient that its manifest is sealed to; only [Catalog.Add] looks at it
}

// Stats sum up a catalog.
type Stats struct {
	Objects int64
	Bytes   int64 // of content
}

// A Catalog is an open catalog. It is safe for concurrent use. Any of its
// methods may fail with the kinds Database (the file is damaged), Full, IO, and
// Locked (other processes kept it busy for too long).
type Catalog struct {
	db     *sql.DB
	path   string
	live   string       // what holds of the rows of objects that are not deleted
	adding sync.RWMutex // held for reading by Add, and for writing by Close
}

// Close closes the catalog, once no Add is under way: what is not there then
// will never be. No iteration of List may be under way.
func (c *Catalog) Close() error {
	c.adding.Lock()
	defer c.adding.Unlock()
	return c.classify(context.Background(), c.db.Close())
}

// Add adds an object. Kinds: Invalid (the name or a tag is not valid UTF-8 or
// too long), Exists (the id is there).
func (c *Catalog) Add(ctx context.Context, e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	for _, tag := range e.Tags {
		if !utf8.ValidString(tag) {
			return errs.New(errs.Invalid, "a tag is not valid UTF-8")
		}
	}
	tags, err := json.Marshal(e.Tags)
	if err != nil {
		return errs.New(errs.Serialization, "tags: %w", err)
	}
	return c.write(ctx, func(tx *writing) error {
		_, err := tx.exec(`INSERT INTO object (id, name, size, tags, created, stored) VALUES (?, ?, ?, ?, ?, ?)`,
			e.ID[:], e.Name, e.Size, string(tags), e.Created.UnixNano(), e.StoredBytes)
		if isUnique(err) {
			return errs.New(errs.Exists, "object %v is in the catalog", e.ID)
		}
		if err == nil {
			err = tx.noteEpoch(e.ID, e.Epoch)
		}
		if err != nil {
			return err
		}
		return tx.say(e.ID)
	})
}

func checkName(name string) error {
	switch {
	case len(name) > MaxName:
		return errs.New(errs.Invalid, "the name has %d bytes; at most %d are possible", len(name), MaxName)
	case !utf8.ValidString(name):
		return errs.WithHint(errs.New(errs.Invalid, "the name is not valid UTF-8"), "give another with --name")
	}
	return nil
}

const columns = `SELECT id, name, size, tags, created, stored FROM object `

// List yields all objects that are not deleted, the newest first, without holding them in memory.
// It ends after the first error.
func (c *Catalog) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		rows, err := c.db.QueryContext(ctx, columns+`WHERE `+c.live+` ORDER BY created DESC, row DESC`)
		if err != nil {
			yield(Entry{}, c.classify(ctx, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, err := c.scan(ctx, rows)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Entry{}, c.classify(ctx, err))
		}
	}
}

// ByID returns the object of that id. Kind: FileNotFound.
func (c *Catalog) ByID(ctx context.Context, id datamesh.ObjectID) (Entry, error) {
	e, err := c.scan(ctx, c.db.QueryRowContext(ctx, columns+`WHERE id = ? AND `+c.live, id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
	}
	return e, err
}

// ByName returns the newest object of that name. Kind: FileNotFound.
func (c *Catalog) ByName(ctx context.Context, name string) (Entry, error) {
	if name == "" {
		return Entry{}, errs.New(errs.FileNotFound, "objects without a name are known by their ids")
	}
	e, err := c.scan(ctx, c.db.QueryRowContext(ctx, columns+`WHERE name = ? AND `+c.live+` ORDER BY created DESC, row DESC LIMIT 1`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "no object in the catalog has that name")
	}
	return e, err
}

// Named counts the objects of that name.
func (c *Catalog) Named(ctx context.Context, name string) (n int, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT count(*) FROM object WHERE name = ? AND `+c.live, name).Scan(&n)
	return n, c.classify(ctx, err)
}

// Stats counts the objects and their bytes.
func (c *Catalog) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := c.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM object WHERE `+c.live).Scan(&s.Objects, &s.Bytes)
	return s, c.classify(ctx, err)
}

// A scanner is a row.
type scanner interface{ Scan(...any) error }

// scan reads a row of columns, and others after them. Its error may be
// [sql.ErrNoRows].
func (c *Catalog) scan(ctx context.Context, row scanner, others ...any) (Entry, error) {
	var (
		e       Entry
		id      []byte
		tags    string
		created int64
	)
	err := row.Scan(append([]any{&id, &e.Name, &e.Size, &tags, &created, &e.StoredBytes}, others...)...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Entry{}, err
	case err != nil:
		return Entry{}, c.classify(ctx, err)
	case len(id) != len(e.ID) || json.Unmarshal([]byte(tags), &e.Tags) != nil:
		return Entry{}, c.damaged("a row makes no sense")
	}
	copy(e.ID[:], id)
	e.Created = time.Unix(0, created).UTC()
	return e, nil
}
