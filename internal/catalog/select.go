package catalog

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"datamesh/internal/errs"
)

// A Query says which names of the catalog to select. The zero value selects all.
type Query struct {
	Pattern string    // a name, what is below one that ends with a slash, or a glob
	Tag     string    // that objects have
	Type    string    // a media type, or a glob of those
	Larger  int64     // they have more bytes than that, if it is not negative
	Smaller int64     // and less than that, if it is not 0
	After   time.Time // they were stored then or later
	Before  time.Time // and before that
	Sort    string    // "date": the newest first, as for ""; "name"; "size": the largest first
	Limit   int       // of how many there are at most, if it is not 0
}

// Orders are what a Query can be sorted by.
var orders = map[string]string{
	"":     `created DESC, row DESC, name`,
	"date": `created DESC, row DESC, name`,
	"name": `name, created DESC, row DESC`,
	"size": `size DESC, row DESC, name`,
}

// A matcher finds names: one, those below one that ends with a slash, or those of
// a glob, in which * stands for anything but slashes and ** for directories, too.
type matcher struct {
	pattern string
	glob    bool
	least   string // that a name begins with
}

func newMatcher(pattern string) (*matcher, error) {
	m := &matcher{pattern: pattern, least: pattern}
	if i := strings.IndexAny(pattern, `*?[{\`); i >= 0 {
		m.glob, m.least = true, pattern[:i]
		if !doublestar.ValidatePattern(pattern) {
			return nil, errs.WithHint(errs.New(errs.Invalid, "%q is no pattern", pattern), `put a backslash before * ? [ { or \ to mean it`)
		}
	}
	return m, nil
}

func (m *matcher) matches(name string) bool {
	switch {
	case m.pattern == "" || name == m.pattern:
		return true
	case m.glob:
		return doublestar.MatchUnvalidated(m.pattern, name)
	}
	return IsBelow(m.pattern) && strings.HasPrefix(name, m.pattern)
}

// listed holds of the rows of objects that are no parts of others: see
// [format.Internal].
const listed = `NOT (type GLOB 'application/vnd.datamesh.*' AND (type GLOB '*.pack' OR type GLOB '*+pack'))`

// A selection is an SQL query.
type selection struct {
	text string
	args []any
}

// selection returns what a query selects, if its names match, and the rows of
// objects.
func (c *Catalog) selection(q Query, m *matcher) selection {
	where := []string{c.live, listed}
	var one []any
	add := func(condition string, args ...any) {
		where, one = append(where, condition), append(one, args...)
	}
	switch least, beyond := below(m.least); {
	case m.pattern == "":
	case !m.glob && !IsBelow(m.pattern):
		add(`name = ?`, m.pattern)
	default:
		add(`name >= ?`, least)
		if beyond != "" {
			add(`name < ?`, beyond)
		}
	}
	if q.Tag != "" {
		add(`EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)`, q.Tag)
	}
	if q.Type != "" {
		add(`(type GLOB ? OR type GLOB ? || ';*')`, q.Type, q.Type)
	}
	if q.Larger > 0 {
		add(`size > ?`, q.Larger)
	}
	if q.Smaller > 0 {
		add(`size < ?`, q.Smaller)
	}
	if !q.After.IsZero() {
		add(`created >= ?`, q.After.UnixNano())
	}
	if !q.Before.IsZero() {
		add(`created < ?`, q.Before.UnixNano())
	}
	rest := ` WHERE ` + strings.Join(where, ` AND `)
	s := selection{`SELECT ` + c.columns + noFurther + `, row FROM object` + rest, one}
	if c.aliases {
		// The names beside the first are taken to be few: a join that began with objects would look for those of each before the first row.
		s.text += ` UNION ALL SELECT ` + c.columns + noFurther + `, row FROM (SELECT object.id, alias.name, size, tags, created, stored, type, mode, modified, pinned, row
			FROM alias CROSS JOIN object USING (id)) AS object` + rest
		s.args = append(s.args, one...)
	}
	s.text += ` ORDER BY ` + orders[q.Sort]
	if q.Limit > 0 && !m.glob {
		s.text += ` LIMIT ?`
		s.args = append(s.args, q.Limit)
	}
	return s
}

// Select yields what a query selects, without holding it in memory: an object once
// for each of its names that match, which is its Name there; it has no Further. It
// ends after the first error. Kind: Invalid.
func (c *Catalog) Select(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		m, err := newMatcher(q.Pattern)
		if _, ok := orders[q.Sort]; err == nil && !ok {
			err = errs.WithHint(errs.New(errs.Invalid, "%q is nothing to sort by", q.Sort), "sort by date, name or size")
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		n := 0
		c.entries(ctx, c.selection(q, m), func(e Entry, err error) bool {
			if err != nil {
				return yield(e, err)
			}
			if !m.matches(e.Name) {
				return true
			}
			n++
			return yield(e, nil) && n != q.Limit
		})
	}
}

// entries yields what a query finds that reads rows, too.
func (c *Catalog) entries(ctx context.Context, s selection, yield func(Entry, error) bool) {
	rows, err := c.db.QueryContext(ctx, s.text, s.args...)
	if err != nil {
		yield(Entry{}, c.classify(ctx, err))
		return
	}
	defer rows.Close()
	for rows.Next() {
		e, err := c.scan(ctx, rows, new(int64))
		if !yield(e, err) || err != nil {
			return
		}
	}
	if err := rows.Err(); err != nil {
		yield(Entry{}, c.classify(ctx, err))
	}
}
