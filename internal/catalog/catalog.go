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
	"sync/atomic"
	"time"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
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
	StoredBytes int64     // of all its shards
	Type        string    // media type; "" for what is not known
	Mode        uint32    // permission bits of the file, or datamesh.NoPermissions; 0: not known
	ModTime     time.Time // of the file, or zero
	Pinned      bool      // it is not to be deleted
	Further     []string  // names beside Name, in order
	Epoch       int       // of the recipient that its manifest is sealed to; only [Catalog.Add] looks at it
}

// Stats sum up a catalog.
type Stats struct {
	Objects  int64
	Bytes    int64 // of content
	Internal int64 // objects that are parts of others: see [format.Internal]
}

// A Catalog is an open catalog. It is safe for concurrent use. Any of its
// methods may fail with the kinds Database (the file is damaged), Full, IO, and
// Locked (other processes kept it busy for too long).
type Catalog struct {
	db      *sql.DB
	path    string
	live    string       // what holds of the rows of objects that are not deleted
	columns string       // of objects
	further string       // what scan reads beside them: the names of an object but its first
	named   string       // what holds of the rows of objects that have the name ?1
	aliases bool         // objects have further names
	adding  sync.RWMutex // held for reading by Add, and for writing by Close
	reads   statements
	reading chan struct{}          // of as many places as queries run at the same time
	owns    atomic.Pointer[[]byte] // whose it is, once that was read: it never changes
	tables  sync.Map               // that earlier versions have not, and were seen: none ever goes

	waiting waiting
	writing sync.WaitGroup // of the goroutine that writes, whose the rest is
	writer  writer
	last    int       // changes that were made together last
	ended   time.Time // when that was
}

// Close closes the catalog, once no Add is under way: what is not there then
// will never be. No iteration of List may be under way.
func (c *Catalog) Close() error {
	c.adding.Lock()
	defer c.adding.Unlock()
	return c.classify(context.Background(), c.close())
}

// close is Close where there is no Add.
func (c *Catalog) close() error {
	c.writing.Wait() // for whom those that wanted to write may not have waited
	return errors.Join(c.reads.close(), c.writer.close(), c.db.Close())
}

// Add adds an object. Kinds: Invalid (the name, the type or a tag is not valid UTF-8 or
// too long), Exists (the id is there).
func (c *Catalog) Add(ctx context.Context, e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if len(e.Type) > format.MaxType || !utf8.ValidString(e.Type) {
		return errs.New(errs.Invalid, "a type has at most %d bytes of valid UTF-8", format.MaxType)
	}
	if err := checkTags(e.Tags); err != nil {
		return err
	}
	if err := checkFurther(e); err != nil {
		return err
	}
	return c.write(ctx, func(tx *writing) error {
		err := tx.insert(&e, ``)
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

// insert enters an object, and, if it is there, does what the clause says.
func (w *writing) insert(e *Entry, orElse string) error {
	tags, err := json.Marshal(e.Tags)
	if err != nil {
		return errs.New(errs.Serialization, "tags: %w", err)
	}
	if _, err := w.exec(`INSERT INTO object (`+columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) `+orElse,
		e.ID[:], e.Name, e.Size, string(tags), e.Created.UnixNano(), e.StoredBytes, e.Type, e.Mode, format.UnixNano(e.ModTime), e.Pinned); err != nil {
		return err
	}
	if orElse == `` && len(e.Further) == 0 {
		return nil // it has none yet
	}
	return w.setFurther(e.ID, e.Further)
}

func (w *writing) setFurther(id datamesh.ObjectID, names []string) error {
	_, err := w.exec(`DELETE FROM alias WHERE id = ?`, id[:])
	for _, name := range names {
		if err == nil {
			_, err = w.exec(`INSERT INTO alias (id, name) VALUES (?, ?)`, id[:], name)
		}
	}
	return err
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

// columns are those of an object, and further is what else scan reads; the others
// are the same of a catalog that has no names beside the first yet, or no types,
// modes and times either.
const (
	columns         = `id, name, size, tags, created, stored, type, mode, modified, pinned`
	further         = `, (SELECT json_group_array(name) FROM (SELECT name FROM alias WHERE alias.id = object.id ORDER BY name))`
	earlierColumns  = `id, name, size, tags, created, stored, type, mode, modified, 0`
	earliestColumns = `id, name, size, tags, created, stored, '', 0, 0, 0`
	noFurther       = `, '[]'`
)

// query returns a query for what scan reads.
func (c *Catalog) query(rest string) string {
	return `SELECT ` + c.columns + c.further + ` FROM object ` + rest
}

// List yields all objects that are not deleted, the newest first, each once, and
// without holding them in memory.
// It ends after the first error.
func (c *Catalog) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		rows, err := c.db.QueryContext(ctx, c.query(`WHERE `+c.live+` ORDER BY created DESC, row DESC`))
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
	e, err := c.scan(ctx, c.row(ctx, c.query(`WHERE id = ? AND `+c.live), id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
	}
	return e, err
}

// ByName returns the newest object that has that name. Kind: FileNotFound.
func (c *Catalog) ByName(ctx context.Context, name string) (Entry, error) {
	if name == "" {
		return Entry{}, errNoName
	}
	e, err := c.scan(ctx, c.row(ctx, c.query(`WHERE `+c.named+` AND `+c.live+` ORDER BY created DESC, row DESC LIMIT 1`), name))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "no object in the catalog has that name")
	}
	return e, err
}

// A Found is the object that an id or a name means.
type Found struct {
	ID      datamesh.ObjectID
	Name    string // by which it was found, or else its first; "" if it is not in the list
	Named   int    // objects that have the name by which it was found
	Deleted bool
	Final   bool // it cannot be brought back
}

// Find returns the object that has that id now, or had it. One that is not in the
// catalog has the id alone.
func (c *Catalog) Find(ctx context.Context, id datamesh.ObjectID) (Found, error) {
	f, err := c.find(ctx, id)
	if !errors.Is(err, sql.ErrNoRows) {
		return f, c.classify(ctx, err)
	}
	now, err := c.Current(ctx, id)
	if err != nil || now == id {
		return Found{ID: id}, err
	}
	f, err = c.find(ctx, now)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return f, c.classify(ctx, err)
}

// find is Find by an id that an object has. Its error may be [sql.ErrNoRows].
func (c *Catalog) find(ctx context.Context, id datamesh.ObjectID) (Found, error) {
	f := Found{ID: id}
	var final sql.NullBool
	err := c.row(ctx, `SELECT iif(final IS NULL, name, ''), final FROM object LEFT JOIN deletion USING (id) WHERE id = ?`, id[:]).Scan(&f.Name, &final)
	f.Deleted, f.Final = final.Valid, final.Bool
	return f, err
}

// FindName returns the newest object that has that name. Kind: FileNotFound.
func (c *Catalog) FindName(ctx context.Context, name string) (Found, error) {
	if name == "" {
		return Found{}, errNoName
	}
	f := Found{Name: name}
	var id []byte
	err := c.row(ctx, `SELECT id, count(*) OVER () FROM object WHERE `+c.named+` AND `+c.live+` ORDER BY created DESC, row DESC LIMIT 1`, name).Scan(&id, &f.Named)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return f, errs.New(errs.FileNotFound, "no object in the catalog has that name")
	case err == nil && len(id) != len(f.ID):
		return f, c.damaged("a row makes no sense")
	}
	f.ID = idOf(id)
	return f, c.classify(ctx, err)
}

var errNoName = errs.New(errs.FileNotFound, "objects without a name are known by their ids")

// Named counts the objects that have that name.
func (c *Catalog) Named(ctx context.Context, name string) (n int, err error) {
	err = c.row(ctx, `SELECT count(*) FROM object WHERE `+c.named+` AND `+c.live, name).Scan(&n)
	return n, c.classify(ctx, err)
}

// Stats counts the objects and their bytes.
func (c *Catalog) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := c.row(ctx, `SELECT count(*) FILTER (WHERE `+listed+`), coalesce(sum(size) FILTER (WHERE `+listed+`), 0),
		count(*) FILTER (WHERE NOT `+listed+`) FROM object WHERE `+c.live).Scan(&s.Objects, &s.Bytes, &s.Internal)
	return s, c.classify(ctx, err)
}

// A scanner is a row.
type scanner interface{ Scan(...any) error }

// row returns the one row of a query, which is compiled once for each connection, and
// is run when it is scanned.
func (c *Catalog) row(ctx context.Context, query string, args ...any) scanner {
	return oneRow{c, ctx, query, args}
}

type oneRow struct {
	c     *Catalog
	ctx   context.Context // the query does not begin after its end
	query string
	args  []any
}

func (r oneRow) Scan(into ...any) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	select {
	case r.c.reading <- struct{}{}:
		defer func() { <-r.c.reading }()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	ctx := context.WithoutCancel(r.ctx) // to watch it takes longer than most of these
	s, err := r.c.reads.prepare(ctx, r.c.db, r.query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, r.args...).Scan(into...)
}

// texts reads a JSON array of texts, most often an empty one, which is nil then.
func texts(text string, into *[]string) error {
	if text == "[]" || text == "null" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}

// scan reads a row of columns, and others after them. Its error may be
// [sql.ErrNoRows].
func (c *Catalog) scan(ctx context.Context, row scanner, others ...any) (Entry, error) {
	var (
		e                 Entry
		id                []byte
		tags, further     string
		created, modified int64
	)
	err := row.Scan(append([]any{&id, &e.Name, &e.Size, &tags, &created, &e.StoredBytes, &e.Type, &e.Mode, &modified, &e.Pinned, &further}, others...)...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Entry{}, err
	case err != nil:
		return Entry{}, c.classify(ctx, err)
	case len(id) != len(e.ID) || texts(tags, &e.Tags) != nil || texts(further, &e.Further) != nil:
		return Entry{}, c.damaged("a row makes no sense")
	}
	copy(e.ID[:], id)
	e.Created, e.ModTime = time.Unix(0, created).UTC(), format.Time(modified)
	return e, nil
}
