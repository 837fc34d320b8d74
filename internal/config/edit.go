package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// Set has the file make a setting, which value has as the environment would.
// All else in it stays as it is. If the file would make no sense then, it is
// left alone. Kinds: Invalid, Configuration.
func (f *File) Set(key, value string) error {
	scratch := Default()
	s, err := scratch.setting(key)
	if err != nil {
		return err
	}
	if err := s.set(value); err != nil {
		return errs.WithHint(errs.New(errs.Invalid, "%s cannot be %q: %w", key, value, err), "%s accepts %s", key, s.accept)
	}
	if s.form == number || s.form == boolean {
		value = s.get() // 007 is no number to TOML
	}
	return f.edit(func(d *document) ([]byte, error) { return f.put(d, s.section(), s.name(), s.encode(value)) })
}

// Unset has the file not make a setting. Kinds: Invalid, Configuration.
func (f *File) Unset(key string) error {
	scratch := Default()
	s, err := scratch.setting(key)
	if err != nil {
		return err
	}
	return f.edit(func(d *document) ([]byte, error) { return f.remove(d, s.section(), s.name()) })
}

// AddNetwork gives some peers, each PEER_ID@ADDR, a name that has none yet.
// Kinds: Invalid, Exists, Configuration.
func (f *File) AddNetwork(name string, peers []string) error {
	if err := CheckNetworkName(name); err != nil {
		return err
	}
	if _, err := parsePeers(peers); err != nil {
		return err
	}
	return f.edit(func(d *document) ([]byte, error) {
		if d.find(networkSection, name) != nil {
			return nil, errs.WithHint(errs.New(errs.Exists, "the network %q exists", name), "remove it first: datamesh networks remove %s", name)
		}
		return f.put(d, networkSection, name, encodeList(peers))
	})
}

// RemoveNetwork removes a network that mesh.bootstrap does not name.
// Kinds: Invalid, FileNotFound, Configuration.
func (f *File) RemoveNetwork(name string) error {
	c, err := f.Config()
	if err != nil {
		return err
	}
	if _, builtin := localPeers(name); builtin {
		return errs.WithHint(errs.New(errs.Invalid, "the network %q is built in", name), `see those that can be removed with "datamesh networks"`)
	}
	if strings.Contains(name, "@") {
		return errs.WithHint(errs.New(errs.Invalid, "%q is a peer and no name of a network", name), `see the names with "datamesh networks"`)
	}
	if _, err := c.Peers(name); err != nil {
		return err
	}
	if slices.Contains(c.Mesh.Bootstrap, name) {
		return errs.WithHint(errs.New(errs.Invalid, "mesh.bootstrap names the network %q", name), "first: datamesh config unset mesh.bootstrap")
	}
	return f.edit(func(d *document) ([]byte, error) { return f.remove(d, networkSection, name) })
}

// edit changes the file if what it becomes makes sense. If it did before, the
// edit is to blame. Kinds: Invalid, Configuration, those of change.
func (f *File) edit(change func(*document) ([]byte, error)) error {
	d, err := f.parse()
	if err != nil {
		return err
	}
	b, err := change(d)
	if err != nil {
		return err
	}
	edited := &File{path: f.path, data: b}
	if err := edited.Check(); err != nil {
		if f.Check() == nil {
			return errs.WithHint(errs.New(errs.Invalid, "%w", err), "%s", errs.HintFor(err))
		}
		return err
	}
	if len(b) > maxFile {
		return errs.New(errs.Invalid, "%s: it would have more than %v", f.path, Size(maxFile))
	}
	f.data = b
	return nil
}

// put returns the file with that value for a key.
func (f *File) put(d *document, section, name, value string) ([]byte, error) {
	if e := d.find(section, name); e != nil {
		return splice(f.data, e.value, e.end, value), nil
	}
	line := name + " = " + value
	for i, t := range d.tables {
		if t.section == section {
			return f.insertLine(f.place(d, i, name), line), nil
		}
	}
	for _, e := range slices.Backward(d.entries) {
		switch {
		case e.section != section:
		case e.inline:
			return nil, f.byHand(e.line)
		default: // TOML allows no table beside a dotted key
			return f.insertLine(lineEnd(f.data, e.end), section+"."+line), nil
		}
	}
	if len(bytes.TrimSpace(f.data)) == 0 {
		return f.insertLine(len(f.data), "["+section+"]"+f.newline()+line), nil
	}
	return f.insertLine(len(f.data), f.newline()+"["+section+"]"+f.newline()+line), nil
}

// place returns where a line with that name belongs in a table: after its
// commented default, else after the last entry, else after the header.
func (f *File) place(d *document, i int, name string) int {
	from, to := d.tables[i].end, len(f.data)
	if i+1 < len(d.tables) {
		to = d.tables[i+1].start
	}
	shown := regexp.MustCompile(`^#\s*` + regexp.QuoteMeta(name) + `\s*=`)
	for _, c := range d.comments {
		if c.start >= from && c.end <= to && shown.Match(f.data[c.start:c.end]) {
			return lineEnd(f.data, c.end)
		}
	}
	at := from
	for _, e := range d.entries {
		if e.table == i {
			at = max(at, lineEnd(f.data, e.end))
		}
	}
	return at
}

// insertLine returns the file with one more line, which begins at that offset.
func (f *File) insertLine(at int, line string) []byte {
	if at > 0 && f.data[at-1] != '\n' { // the last line had no end
		line = f.newline() + line
	}
	return splice(f.data, at, at, line+f.newline())
}

// newline returns what ends the lines of the file.
func (f *File) newline() string {
	if i := bytes.IndexByte(f.data, '\n'); i > 0 && f.data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// remove returns the file without a key, or as it is if it has none.
func (f *File) remove(d *document, section, name string) ([]byte, error) {
	e := d.find(section, name)
	switch {
	case e == nil:
		return f.data, nil
	case e.inline:
		return nil, f.byHand(e.line)
	}
	return splice(f.data, lineStart(f.data, e.start), lineEnd(f.data, e.end), ""), nil
}

func (f *File) byHand(line int) error {
	return errs.WithHint(errs.New(errs.Invalid, "%s:%d: what is in braces is not edited by this program", f.path, line),
		"write it as a section in brackets, or edit it by hand")
}

func splice(b []byte, from, to int, s string) []byte {
	return slices.Concat(b[:from], []byte(s), b[to:])
}

// Save writes the file if it was edited, durably and at once; its permissions
// and owner, and links that lead to it, stay. Kinds: Locked (another program has changed
// it since it was read), IO, Full.
func (f *File) Save() error {
	if f.exists && bytes.Equal(f.data, f.read) {
		return nil
	}
	now, err := ReadFile(f.path)
	if err != nil {
		return err
	}
	if now.exists != f.exists || !bytes.Equal(now.data, f.read) {
		return f.changed()
	}
	path := resolve(f.path)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := f.write(path); err != nil {
		return err
	}
	f.read, f.exists = slices.Clone(f.data), true
	return nil
}

func (f *File) write(path string) error {
	mode := f.mode
	if !f.exists {
		mode = 0o600
	}
	file, err := durable.Create(path, mode)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := f.keepOwner(file, path); err != nil {
		return err
	}
	if _, err := io.Copy(file, bytes.NewReader(f.data)); err != nil {
		return err
	}
	if f.exists {
		if err := file.SetMode(mode); err != nil {
			return err
		}
	}
	err = file.Commit(f.exists)
	if errors.Is(err, errs.Exists) {
		return f.changed()
	}
	return err
}

// keepOwner has a file be of whom it was, and a new one of whom its directory
// is: root may edit the configuration of another user.
func (f *File) keepOwner(file *durable.File, path string) error {
	like := path
	if !f.exists {
		like = filepath.Dir(path)
	}
	fi, err := os.Stat(like)
	if err != nil {
		return errs.New(errs.IO, "%s: %w", f.path, err)
	}
	return file.KeepOwner(fi)
}

func (f *File) changed() error {
	return errs.WithHint(errs.New(errs.Locked, "%s: another program has changed it meanwhile", f.path), "look at it, and try again")
}

// Init makes the file, if there is none: all defaults, as comments. Kinds:
// Exists, IO, Full.
func (f *File) Init() error {
	if f.exists {
		return errs.WithHint(errs.New(errs.Exists, "%s exists", f.path), "change it with: datamesh config set KEY VALUE")
	}
	f.data = []byte(Example())
	return f.Save()
}

// Example returns a file that shows every setting with its default.
func Example() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Settings of DataMesh. What is commented out is the default.\n# Environment variables and flags go before what is here.\nversion = %d\n", fileVersion)
	c := Default()
	section := ""
	for _, s := range c.settings() {
		if s.section() != section {
			section = s.section()
			fmt.Fprintf(&b, "\n[%s]\n", section)
		}
		fmt.Fprintf(&b, "# %s: %s\n# %s = %s\n", s.about, s.accept, s.name(), s.encode(s.get()))
	}
	fmt.Fprintf(&b, "\n# Peers under a name, for mesh.bootstrap and \"datamesh networks\".\n[%s]\n# home = [\"PEER_ID@/ip4/192.0.2.7/tcp/%d\"]\n", networkSection, localPort)
	return b.String()
}
