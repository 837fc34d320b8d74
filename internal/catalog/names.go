package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// Names returns all names of an object, its first one first.
func (e *Entry) Names() []string {
	if e.Name == "" {
		return nil
	}
	return append([]string{e.Name}, e.Further...)
}

// setNames gives an object other names, of which the first stays that if it is
// among them.
func (e *Entry) setNames(names []string) {
	slices.Sort(names)
	names = slices.Compact(names)
	first := max(slices.Index(names, e.Name), 0)
	e.Name, e.Further = "", nil
	if len(names) > 0 {
		e.Name = names[first]
		e.Further = slices.Delete(names, first, first+1)
	}
}

// replace gives an object one name instead of another, as the first name if that
// is the first.
func (e *Entry) replace(from, to string) {
	names := e.Names()
	for i := range names {
		if names[i] == from {
			names[i] = to
		}
	}
	if e.Name == from {
		e.Name = to
	}
	e.setNames(names)
}

func checkTags(tags []string) error {
	if len(tags) > format.MaxTags {
		return errs.New(errs.Invalid, "%d tags; an object has at most %d", len(tags), format.MaxTags)
	}
	for _, tag := range tags {
		if tag == "" || len(tag) > format.MaxTag || !utf8.ValidString(tag) {
			return errs.New(errs.Invalid, "a tag has 1 to %d bytes of valid UTF-8", format.MaxTag)
		}
	}
	return nil
}

// checkFurther checks the names beside the first.
func checkFurther(e Entry) error {
	bytes := 0
	for _, name := range e.Further {
		if err := checkName(name); err != nil {
			return err
		}
		bytes += len(name)
	}
	if len(e.Further) > format.MaxNames || bytes > format.MaxNamesBytes {
		return errs.New(errs.Invalid, "an object has at most %d names beside its first, of %d bytes together", format.MaxNames, format.MaxNamesBytes)
	}
	return nil
}

// entry returns an object that is not deleted. Kind: FileNotFound.
func (w *writing) entry(id datamesh.ObjectID) (Entry, error) {
	e, err := w.c.scan(w.ctx, w.on.conn.QueryRowContext(context.Background(), w.c.query(`WHERE id = ? AND `+w.c.live), id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return e, errs.New(errs.FileNotFound, "object %v is not in the catalog", id)
	}
	return e, err
}

// named returns the objects that have a name and are not deleted, the newest first.
func (w *writing) named(name string) ([]datamesh.ObjectID, error) {
	return w.ids(`SELECT id FROM object WHERE `+w.c.named+` AND `+w.c.live+` ORDER BY created DESC, row DESC`, name)
}

// update has an object have other names and tags, and another time, and says so.
func (w *writing) update(e *Entry) error {
	if err := errors.Join(checkName(e.Name), checkFurther(*e), checkTags(e.Tags)); err != nil {
		return err
	}
	tags, err := json.Marshal(e.Tags)
	if err != nil {
		return errs.New(errs.Serialization, "tags: %w", err)
	}
	if _, err := w.exec(`UPDATE object SET name = ?, tags = ?, created = ?, pinned = ? WHERE id = ?`,
		e.Name, string(tags), e.Created.UnixNano(), e.Pinned, e.ID[:]); err != nil {
		return err
	}
	if err := w.setFurther(e.ID, e.Further); err != nil {
		return err
	}
	return w.say(e.ID)
}

// IsBelow reports whether a name stands for all that are below it, like a
// directory.
func IsBelow(name string) bool { return strings.HasSuffix(name, "/") }

// into returns the name that something gets which is given another one, of a
// directory.
func into(from, to string) string {
	if IsBelow(to) && !IsBelow(from) {
		return to + path.Base(from)
	}
	return to
}

// Copy gives an object a further name, or its first. To a name that ends with a
// slash the last part of from is added. It returns what the object is now. Kinds:
// FileNotFound, Exists, Invalid.
func (c *Catalog) Copy(ctx context.Context, id datamesh.ObjectID, from, to string) (e Entry, name string, err error) {
	err = c.write(ctx, func(tx *writing) error {
		if e, err = tx.entry(id); err != nil {
			return err
		}
		if name = into(cmp.Or(from, e.Name), to); to == "" || IsBelow(name) {
			return errs.New(errs.Invalid, "the new name is empty, or stands for all that is below it")
		}
		if ids, err := tx.named(name); err != nil || len(ids) > 0 {
			return errors.Join(err, errTaken(name))
		}
		e.setNames(append(e.Names(), name))
		return tx.update(&e)
	})
	return e, name, err
}

// CopyBelow gives the newest object of each name below one that ends with a slash a
// further name below another, with the directory of that name. It returns how many
// objects have one. Kinds: FileNotFound, Exists, Invalid.
func (c *Catalog) CopyBelow(ctx context.Context, from, to string) (copied int, err error) {
	switch {
	case !IsBelow(to):
		return 0, errs.WithHint(errs.New(errs.Invalid, "%q stands for all that is below it, and %q does not", from, to), "end both with a slash")
	case from == to:
		return 0, errs.New(errs.Invalid, "both names are the same")
	}
	err = c.write(ctx, func(tx *writing) error {
		copied = 0
		moves, err := tx.moves(from, to)
		if err == nil && len(moves) == 0 {
			err = errs.New(errs.FileNotFound, "no object in the catalog has that name")
		}
		if err != nil {
			return err
		}
		for _, m := range moves {
			newest, err := tx.named(m.from)
			if err != nil || newest[0] != m.id {
				if err != nil {
					return err
				}
				continue
			}
			if ids, err := tx.named(m.to); err != nil || len(ids) > 0 {
				return errors.Join(err, errTaken(m.to))
			}
			e, err := tx.entry(m.id)
			if err != nil {
				return err
			}
			e.setNames(append(e.Names(), m.to))
			if err := tx.update(&e); err != nil {
				return err
			}
			copied++
		}
		return nil
	})
	return copied, err
}

// Unname takes a name from an object that has others, and returns what it is now.
// Kinds: FileNotFound, Invalid (it has no other).
func (c *Catalog) Unname(ctx context.Context, id datamesh.ObjectID, name string) (e Entry, err error) {
	err = c.write(ctx, func(tx *writing) error {
		if e, err = tx.entry(id); err != nil {
			return err
		}
		names := e.Names()
		i := slices.Index(names, name)
		switch {
		case i < 0:
			return errs.New(errs.FileNotFound, "the object has no such name")
		case len(names) == 1:
			return errs.New(errs.Invalid, "the object has no other name")
		}
		e.setNames(slices.Delete(names, i, i+1))
		return tx.update(&e)
	})
	return e, err
}

// EditObject has an object be as edit makes it: its tags, and whether it is
// pinned. It reports whether it is otherwise now. Kinds: FileNotFound, Invalid,
// those of edit.
func (c *Catalog) EditObject(ctx context.Context, id datamesh.ObjectID, edit func(*Entry)) (e Entry, changed bool, err error) {
	err = c.write(ctx, func(tx *writing) error {
		e, changed, err = tx.edit(id, edit)
		return err
	})
	return e, changed, err
}

// Edit does so with the newest object of each name that is the pattern or matches
// it. It returns how many there are, how many are otherwise now, and one of them.
func (c *Catalog) Edit(ctx context.Context, pattern string, edit func(*Entry)) (one Entry, matched, changed int, err error) {
	m, err := newMatcher(pattern)
	if err != nil {
		return one, 0, 0, err
	}
	err = c.write(ctx, func(tx *writing) error {
		matched, changed = 0, 0
		ids, err := tx.matching(m)
		for _, id := range ids {
			if err != nil {
				return err
			}
			var did bool
			if one, did, err = tx.edit(id, edit); did {
				changed++
			}
			matched++
		}
		if err == nil && matched == 0 {
			err = errs.New(errs.FileNotFound, "no object in the catalog has that name")
		}
		return err
	})
	return one, matched, changed, err
}

func (w *writing) edit(id datamesh.ObjectID, edit func(*Entry)) (e Entry, changed bool, err error) {
	before, err := w.entry(id)
	if err != nil {
		return before, false, err
	}
	e = before
	e.Tags = slices.Clone(before.Tags)
	edit(&e)
	if slices.Equal(e.Tags, before.Tags) && e.Pinned == before.Pinned {
		return e, false, nil
	}
	return e, true, w.update(&e)
}

// matching returns the newest object of each name that matches.
func (w *writing) matching(m *matcher) (ids []datamesh.ObjectID, err error) {
	seen := map[datamesh.ObjectID]bool{}
	last, first := "", true
	q := w.c.selection(Query{Sort: "name"}, m)
	err = w.each(func(rows *sql.Rows) error {
		e, err := w.c.scan(w.ctx, rows, new(int64))
		if err != nil || !m.matches(e.Name) || !first && e.Name == last {
			return err
		}
		last, first = e.Name, false
		if !seen[e.ID] {
			seen[e.ID] = true
			ids = append(ids, e.ID)
		}
		return nil
	}, q.text, q.args...)
	return ids, err
}
