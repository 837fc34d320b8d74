package tree

import (
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"datamesh/internal/errs"
)

// Rules are patterns as a .gitignore file has them, in one directory: the last
// that matches a path counts. What is a byte to Git is a character here.
type rules []rule

// A rule is one pattern.
type rule struct {
	match *regexp.Regexp
	whole bool // it is matched against the path below the directory, and not against the last element alone
	dirs  bool // it matches directories alone
	not   bool // it takes back what those before it say
}

// says returns the last rule that matches a path below the rules' directory.
func (all rules) says(below string, isDir bool) (excluded, any bool) {
	base := path.Base(below)
	for i := len(all) - 1; i >= 0; i-- {
		r := &all[i]
		text := base
		if r.whole {
			text = below
		}
		if (isDir || !r.dirs) && r.match.MatchString(text) {
			return !r.not, true
		}
	}
	return false, false
}

// parseFile reads the rules of a file. Those that make no sense match nothing.
func parseFile(text string) (all rules) {
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if r, err := parseRule(trimBlanks(line)); err == nil && r != nil {
			all = append(all, *r)
		}
	}
	return all
}

// parseFlags reads rules that a user has typed. Kind: Invalid.
func parseFlags(patterns []string) (all rules, err error) {
	for _, p := range patterns {
		r, err := parseRule(p)
		if err == nil && r == nil {
			err = errs.New(errs.Invalid, "it is empty")
		}
		if err != nil {
			return nil, errs.WithHint(errs.New(errs.Invalid, "the pattern %q matches nothing: %w", p, err), "patterns are those of .gitignore, such as '*.o' or /build/")
		}
		all = append(all, *r)
	}
	return all, nil
}

// Quote returns a pattern that matches a path alone.
func Quote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `!`, `\!`, `#`, `\#`).Replace(path)
}

// trimBlanks removes the blanks at the end of a line but for one behind a
// backslash.
func trimBlanks(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = i + 1
	}
	return line[:min(end, len(line))]
}

// parseRule reads one pattern; of an empty one it returns nil.
func parseRule(text string) (*rule, error) {
	var r rule
	text, r.not = strings.CutPrefix(text, "!")
	text, r.dirs = strings.CutSuffix(text, "/")
	r.whole = strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	if text == "" {
		return nil, nil
	}
	re, err := translate(text)
	if err != nil {
		return nil, err
	}
	if r.match, err = regexp.Compile(re); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	return &r, nil
}

// translate returns the regular expression of a pattern, which Go matches in
// time that grows with the text alone.
func translate(p string) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '*':
			stars := len(p[i:]) - len(strings.TrimLeft(p[i:], "*"))
			rest := p[i+stars:]
			alone := stars > 1 && (i == 0 || p[i-1] == '/')
			switch {
			case alone && rest == "":
				b.WriteString(`.*`)
			case alone && rest[0] == '/':
				b.WriteString(`(?:.*/)?`)
				stars++
			default:
				b.WriteString(`[^/]*`)
			}
			i += stars
		case '?':
			b.WriteString(`[^/]`)
			i++
		case '[':
			n, err := class(&b, p[i:])
			if err != nil {
				return "", err
			}
			i += n
		case '\\':
			i++
			if i == len(p) {
				return "", errs.New(errs.Invalid, "a backslash stands at its end")
			}
			fallthrough
		default:
			_, n := utf8.DecodeRuneInString(p[i:])
			b.WriteString(regexp.QuoteMeta(p[i : i+n]))
			i += n
		}
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// posix are the classes that a set may name; none has the slash.
var posix = map[string]string{
	"alnum": `0-9A-Za-z`, "alpha": `A-Za-z`, "blank": `\t `, "cntrl": `\x00-\x1f\x7f`, "digit": `0-9`, "graph": `!-.0-~`, "lower": `a-z`,
	"print": ` -.0-~`, "punct": "!-.:-@\\[-`{-~", "space": `\t-\r `, "upper": `A-Z`, "xdigit": `0-9A-Fa-f`,
}

// class translates the set of characters at the head of p, which never has the
// slash, and returns how long it is.
func class(b *strings.Builder, p string) (n int, err error) {
	errOpen := errs.New(errs.Invalid, "a [ is not closed")
	i := 1
	not := i < len(p) && (p[i] == '!' || p[i] == '^')
	if not {
		i++
	}
	var set strings.Builder
	// next reads a character that stands for itself.
	next := func() (c rune, ok bool) {
		if i < len(p) && p[i] == '\\' {
			i++
		}
		if i >= len(p) {
			return 0, false
		}
		c, n := utf8.DecodeRuneInString(p[i:])
		i += n
		return c, true
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return 0, errOpen
		}
		if p[i] == ']' && !first {
			i++
			break
		}
		if strings.HasPrefix(p[i:], "[:") {
			name, _, closed := strings.Cut(p[i+2:], ":]")
			if !closed {
				name = ""
			}
			members, known := posix[name]
			if !known {
				return 0, errs.New(errs.Invalid, "there is no such class of characters")
			}
			set.WriteString(members)
			i += len("[:" + name + ":]")
			continue
		}
		from, ok := next()
		if !ok {
			return 0, errOpen
		}
		to := from
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			i++
			if to, ok = next(); !ok {
				return 0, errOpen
			}
			to = max(from, to) // of a span that is the wrong way round Git takes the first
		}
		span(&set, from, min(to, '/'-1))
		span(&set, max(from, '/'+1), to)
	}
	switch {
	case not:
		b.WriteString(`[^/` + set.String() + `]`)
	case set.Len() == 0:
		b.WriteString(`[^\x00-\x{10FFFF}]`) // nothing
	default:
		b.WriteString(`[` + set.String() + `]`)
	}
	return i, nil
}

// span adds the characters from the one to the other to a set, if there are any.
func span(set *strings.Builder, from, to rune) {
	if from <= to {
		set.WriteString(quoteInSet(from) + "-" + quoteInSet(to))
	}
}

func quoteInSet(c rune) string {
	if strings.ContainsRune(`\]-^[`, c) {
		return `\` + string(c)
	}
	return string(c)
}
