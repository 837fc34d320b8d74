package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A move gives an object one name instead of another.
type move struct {
	id       datamesh.ObjectID
	from, to string
}

// Rename gives all objects of a name another one, and of a name that ends with a
// slash all that are below it, with the directory of that name. To a name that ends with a slash the last part of
// the old one is added. It returns how many objects have another name now. To a
// name that another object has they go only by force, and then come before that:
// those whose time is not later get that of now. Kinds: FileNotFound, Exists,
// Invalid.
func (c *Catalog) Rename(ctx context.Context, from, to string, force bool) (changed int, err error) {
	switch {
	case from == "" || to == "":
		return 0, errs.New(errs.Invalid, "a name is empty")
	case IsBelow(from) && !IsBelow(to):
		return 0, errs.WithHint(errs.New(errs.Invalid, "%q stands for all that is below it, and %q does not", from, to), "end both with a slash")
	case from == into(from, to):
		return 0, errs.New(errs.Invalid, "both names are the same")
	}
	err = c.write(ctx, func(tx *writing) error {
		changed = 0
		moves, err := tx.moves(from, to)
		if err == nil && len(moves) == 0 {
			err = errs.New(errs.FileNotFound, "no object in the catalog has that name")
		}
		if err == nil {
			changed, err = tx.rename(moves, force)
		}
		return err
	})
	return changed, err
}

// RenameObject gives one object another name, as Rename does.
func (c *Catalog) RenameObject(ctx context.Context, id datamesh.ObjectID, to string, force bool) (was string, err error) {
	err = c.write(ctx, func(tx *writing) error {
		e, err := tx.entry(id)
		switch {
		case err != nil:
			return err
		case len(e.Further) > 0:
			return errs.WithHint(errs.New(errs.Invalid, "the object has %d names, and which of them to replace is not clear", len(e.Names())),
				"datamesh copy %s NEW, then datamesh rm OLD, which takes that name away", id)
		case to == "" || IsBelow(to) && e.Name == "":
			return errs.New(errs.Invalid, "the new name is empty")
		case e.Name == into(e.Name, to):
			return errs.New(errs.Invalid, "both names are the same")
		}
		was = e.Name
		_, err = tx.rename([]move{{id, e.Name, into(e.Name, to)}}, force)
		return err
	})
	return was, err
}

// moves returns what there is to do to have one name be another.
func (w *writing) moves(from, to string) (moves []move, err error) {
	if !IsBelow(from) {
		ids, err := w.named(from)
		for _, id := range ids {
			moves = append(moves, move{id, from, into(from, to)})
		}
		return moves, err
	}
	least, beyond := below(from)
	err = w.each(func(rows *sql.Rows) error {
		var id []byte
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		if rest, isBelow := strings.CutPrefix(name, from); isBelow {
			moves = append(moves, move{idOf(id), name, to + rest})
		} else { // the directory
			moves = append(moves, move{idOf(id), name, strings.TrimSuffix(to, "/")})
		}
		return nil
	}, `SELECT id, name FROM object WHERE (name >= ?1 AND name < ?2 OR name = ?3 AND type = 'inode/directory') AND `+w.c.live+`
		UNION ALL SELECT id, name FROM alias WHERE name >= ?1 AND name < ?2 AND `+w.c.live, least, beyond, strings.TrimSuffix(from, "/"))
	return moves, err
}

// below returns the least name that begins with a prefix, and the least after all
// that do; an empty one stands for none.
func below(prefix string) (least, beyond string) {
	end := []byte(prefix)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
	}
	return prefix, string(end)
}

// rename does what moves say, and returns how many objects it has changed.
func (w *writing) rename(moves []move, force bool) (changed int, err error) {
	going := map[string]map[datamesh.ObjectID]bool{} // who gives up a name
	for _, m := range moves {
		if going[m.from] == nil {
			going[m.from] = map[datamesh.ObjectID]bool{}
		}
		going[m.from][m.id] = true
	}
	newest := map[string]time.Time{} // of those who have a name that others get
	for _, m := range moves {
		if _, seen := newest[m.to]; seen {
			continue
		}
		at, err := w.newestWith(m.to, going[m.from], going[m.to])
		if err != nil {
			return 0, err
		}
		if !at.IsZero() && !force {
			return 0, errTaken(m.to)
		}
		newest[m.to] = at
	}
	entries := map[datamesh.ObjectID]*Entry{}
	var all []*Entry
	var late []*Entry
	for _, m := range moves {
		e := entries[m.id]
		if e == nil {
			found, err := w.entry(m.id)
			if err != nil {
				return 0, err
			}
			e = &found
			entries[m.id], all = e, append(all, e)
		}
		if at := newest[m.to]; !at.IsZero() && !e.Created.After(at) && !slices.Contains(late, e) {
			late = append(late, e)
		}
		e.replace(m.from, m.to)
	}
	w.comeFirst(late, newest)
	for _, e := range all {
		if err := w.update(e); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// newestWith returns the time of the newest object of a name, other than those
// that have it already under the name that becomes it, or give it up.
func (w *writing) newestWith(name string, same, going map[datamesh.ObjectID]bool) (at time.Time, err error) {
	ids, err := w.named(name)
	for _, id := range ids {
		if same[id] || going[id] || err != nil {
			continue
		}
		e, err := w.entry(id)
		return e.Created, err
	}
	return at, err
}

// comeFirst gives objects times after all others of their names, in the order that
// they have.
func (w *writing) comeFirst(late []*Entry, newest map[string]time.Time) {
	at := time.Now().UTC()
	for _, t := range newest {
		if t.After(at) {
			at = t
		}
	}
	slices.SortFunc(late, func(a, b *Entry) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	for _, e := range late {
		at = at.Add(1)
		e.Created = at
	}
}

func errTaken(name string) error {
	return errs.New(errs.Exists, "there is an object of the name %q", name)
}
