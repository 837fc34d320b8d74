package catalog

import (
	"context"
	"iter"
	"slices"
	"strings"

	"datamesh/internal/errs"
)

// searchTables are what was added to the schema to find words in names and tags:
// which three characters follow each other in those of each object, small or
// capital. What is there already goes into it when it is made.
const searchTables = `
CREATE VIRTUAL TABLE word USING fts5(text, content='', contentless_delete=1, detail=none, tokenize='trigram');
CREATE VIEW wording AS SELECT row, id, type, name || char(10)
	|| coalesce((SELECT group_concat(value, char(10)) FROM json_each(tags)), '') || char(10)
	|| coalesce((SELECT group_concat(name, char(10)) FROM alias WHERE alias.id = object.id), '') AS text FROM object;
INSERT INTO word (rowid, text) SELECT row, text FROM wording WHERE ` + listed + `;
CREATE TRIGGER word_added AFTER INSERT ON object WHEN ` + newListed + ` BEGIN
	INSERT INTO word (rowid, text) VALUES (new.row, new.name || char(10) || coalesce((SELECT group_concat(value, char(10)) FROM json_each(new.tags)), ''));
END;
CREATE TRIGGER word_changed AFTER UPDATE OF name, tags, type ON object WHEN old.name <> new.name OR old.tags <> new.tags OR old.type <> new.type BEGIN
	DELETE FROM word WHERE rowid = new.row;
	INSERT INTO word (rowid, text) SELECT row, text FROM wording WHERE row = new.row AND ` + listed + `;
END;
CREATE TRIGGER word_gone AFTER DELETE ON object BEGIN DELETE FROM word WHERE rowid = old.row; END;
CREATE TRIGGER word_named AFTER INSERT ON alias BEGIN
	DELETE FROM word WHERE rowid = (SELECT row FROM object WHERE id = new.id);
	INSERT INTO word (rowid, text) SELECT row, text FROM wording WHERE id = new.id AND ` + listed + `;
END;
CREATE TRIGGER word_unnamed AFTER DELETE ON alias BEGIN
	DELETE FROM word WHERE rowid = (SELECT row FROM object WHERE id = old.id);
	INSERT INTO word (rowid, text) SELECT row, text FROM wording WHERE id = old.id AND ` + listed + `;
END;
`

const newListed = `NOT (new.type GLOB 'application/vnd.datamesh.*' AND (new.type GLOB '*.pack' OR new.type GLOB '*+pack'))`

// Search yields the objects in whose name or tags all the words are, whatever
// stands before and after them and whether letters are small or capital: an object
// once for each of its names that match, those first that this catalog got last.
// Words of one or two characters alone are looked for in all that there is. It
// ends after the first error. Kind: Invalid (there is no word).
func (c *Catalog) Search(ctx context.Context, words []string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var folded, grams []string
		for _, word := range words {
			if word = strings.ToLower(strings.TrimSpace(word)); word != "" {
				folded = append(folded, word)
				grams = append(grams, gramsOf(word)...)
			}
		}
		if len(folded) == 0 {
			yield(Entry{}, errs.New(errs.Invalid, "there is no word to search for"))
			return
		}
		s := selection{text: `SELECT ` + c.columns + c.further + `, row FROM object WHERE ` + c.live + ` AND ` + listed + ` ORDER BY row DESC`}
		if len(grams) > 0 {
			s.text = `SELECT ` + c.columns + c.further + `, row FROM word CROSS JOIN object ON object.row = word.rowid WHERE word MATCH ? AND ` + c.live + ` AND ` + listed + ` ORDER BY word.rowid DESC`
			s.args = []any{strings.Join(grams, ` AND `)}
		}
		c.entries(ctx, s, func(e Entry, err error) bool {
			if err != nil {
				return yield(e, err)
			}
			tags := strings.ToLower(strings.Join(e.Tags, "\n"))
			names := e.Names()
			if len(names) == 0 {
				names = []string{""}
			}
			for _, name := range names {
				text := strings.ToLower(name)
				if slices.ContainsFunc(folded, func(w string) bool { return !strings.Contains(text, w) && !strings.Contains(tags, w) }) {
					continue
				}
				if e.Name = name; !yield(e, nil) {
					return false
				}
			}
			return true
		})
	}
}

// gramsOf returns the groups of three characters of a word, for a query.
func gramsOf(word string) (grams []string) {
	runes := []rune(word)
	for i := 0; i+3 <= len(runes); i++ {
		grams = append(grams, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	slices.Sort(grams)
	return slices.Compact(grams)
}
