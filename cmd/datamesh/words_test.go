package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/errs"
)

func TestLinesAreTakenApartAsShellsDoIt(t *testing.T) {
	for line, want := range map[string][]string{
		``:                            nil,
		"  \t ":                       nil,
		`# put x`:                     nil,
		`list # all`:                  {"list"},
		`put a#b`:                     {"put", "a#b"},
		`put  my\ file.txt`:           {"put", "my file.txt"},
		`put 'my file' "your file"`:   {"put", "my file", "your file"},
		`put a'b c'"d e"f`:            {"put", "ab cd ef"},
		`put ''`:                      {"put", ""},
		`put "" x`:                    {"put", "", "x"},
		`put "a\"b\\c\$d\e"`:          {"put", `a"b\c$d\e`},
		`put 'a\'b`:                   {"put", `a\b`},
		`put $HOME ~ *`:               {"put", "$HOME", "~", "*"},
		`get 'a|b' a\>b "c;d"`:        {"get", "a|b", "a>b", "c;d"},
		"put übung.txt\u00a0x":        {"put", "übung.txt", "x"},
		"put \xff":                    {"put", "\xff"},
		`put "it's" 'say "x"'`:        {"put", "it's", `say "x"`},
		`put x --tags 'a, b' --name=`: {"put", "x", "--tags", "a, b", "--name="},
	} {
		got, err := splitWords(line)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", line, err, diff)
		}
	}
}

func TestWhatOnlyAShellUnderstandsIsRefused(t *testing.T) {
	for line, want := range map[string]string{
		`get x - | less`:  "has no pipes, redirections or lists: |",
		`get x - > file`:  "has no redirection >",
		`put - < file`:    "lists: <",
		`list; peers`:     "lists: ;",
		`list && peers`:   "lists: &",
		`put 'x`:          "a quote ' is not closed",
		`put "x\"`:        `a quote " is not closed`,
		`put x\`:          "ends with a backslash",
		`put "a|b" | cat`: "lists: |",
	} {
		_, err := splitWords(line)
		if err == nil || !strings.Contains(err.Error(), want) || errs.KindOf(err) != errs.Invalid || errs.HintFor(err) == "" {
			t.Errorf("%q: got %v, want %q and a hint", line, err, want)
		}
	}
}

func TestTheLastWordIsFoundWhereItBegins(t *testing.T) {
	for line, want := range map[string]typed{
		``:             {},
		`g`:            {last: "g"},
		`get `:         {words: []string{"get"}, start: 4},
		`get my\ f`:    {words: []string{"get"}, last: "my f", start: 4},
		`get 'my f`:    {words: []string{"get"}, last: "my f", start: 4, open: '\''},
		`get 'my d/'s`: {words: []string{"get"}, last: "my d/s", start: 4},
		`get a\`:       {words: []string{"get"}, last: "a", start: 4, open: '\\'},
		`ü é`:          {words: []string{"ü"}, last: "é", start: 3},
	} {
		if diff := cmp.Diff(want, parseLine(line), cmp.AllowUnexported(typed{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

// FuzzWords checks that quoted words come back, and that no line is taken
// apart in the middle of a character.
func FuzzWords(f *testing.F) {
	f.Add("put", `my "file"`, `get 'x`)
	f.Add("", `\`, `# a | b`)
	f.Add("ü\xff", "\n", `"\`)
	f.Fuzz(func(t *testing.T, a, b, line string) {
		quoted := quoteWord(a) + " " + quoteWord(b)
		got, err := splitWords(quoted)
		if diff := cmp.Diff([]string{a, b}, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", quoted, err, diff)
		}
		p := parseLine(line)
		if p.start < 0 || p.start > len(line) || utf8.ValidString(line) && !utf8.ValidString(line[p.start:]) {
			t.Errorf("%q: its last word begins at %d", line, p.start)
		}
		if words, err := splitWords(line); err == nil && strings.Join(words, "") == "" && len(words) > 0 && !strings.ContainsAny(line, `'"`) {
			t.Errorf("%q has only empty words", line)
		}
	})
}
