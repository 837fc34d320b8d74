package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

const (
	maxHistory     = 1000     // lines
	maxHistoryLine = 16 << 10 // bytes of one that is kept
)

// A history is a file of the lines that were typed in consoles of one home,
// the newest last, for its user alone.
type history struct {
	path string
	last string // the line that was added last
	wait []string
}

// load returns the lines. Kind: IO.
func (h *history) load() ([]string, error) {
	f, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	var lines []string
	scan := bufio.NewScanner(io.LimitReader(f, maxHistory*maxHistoryLine))
	scan.Buffer(nil, maxHistoryLine+1)
	for scan.Scan() {
		if keeps(scan.Text()) {
			lines = append(lines, scan.Text())
		}
	}
	return newest(lines), nil // a line that is too long ends them
}

func newest(lines []string) []string { return lines[max(0, len(lines)-maxHistory):] }

// keeps reports whether a line may be in a history: one that begins with a
// blank is what somebody does not want to be kept, and a link is a secret.
func keeps(line string) bool {
	return !strings.Contains(line, "datamesh:") && line != "" && !strings.HasPrefix(line, " ") && len(line) <= maxHistoryLine &&
		!strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) })
}

// add adds a line, and reports whether it is one to remember. Save writes it.
func (h *history) add(line string) bool {
	if !keeps(line) || line == h.last {
		return false
	}
	h.last = line
	h.wait = append(h.wait, line)
	return true
}

// save adds to the file what was added since. It makes no home: until there is
// one the lines wait. Kinds: IO, Full.
func (h *history) save() error {
	if len(h.wait) == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(h.path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lines, err := h.load() // another console may have written it
	if err != nil {
		return err
	}
	lines = newest(append(lines, h.wait...))
	h.wait = nil
	return durable.WriteFile(h.path, 0o600, true, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
		return err
	})
}
