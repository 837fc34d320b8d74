package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2/unstable"

	"datamesh/internal/errs"
)

const (
	maxFile     = 1 << 20 // bytes
	fileVersion = 1
)

// A File is a configuration file as it was read, with the edits since. It is
// not safe for concurrent use.
type File struct {
	path   string
	data   []byte
	read   []byte // what it was when it was read
	exists bool
	mode   fs.FileMode // of the file that exists
}

// ReadFile reads the configuration file called path. One that is not there is
// an empty one. Kind: Configuration.
func ReadFile(path string) (*File, error) {
	f := &File{path: path}
	fi, err := os.Stat(path)
	switch _, link := os.Lstat(path); {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrNotExist) && link != nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.Configuration, "%s: it is a symbolic link to nothing", path)
	case err != nil:
		return nil, unreadable(path, err)
	case !fi.Mode().IsRegular():
		return nil, errs.WithHint(errs.New(errs.Configuration, "%s: it is no regular file", path), "move it away; a new one is made with: datamesh config init")
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer r.Close()
	if f.data, err = io.ReadAll(io.LimitReader(r, maxFile+1)); err != nil {
		return nil, unreadable(path, err)
	}
	if len(f.data) > maxFile {
		return nil, errs.New(errs.Configuration, "%s: it has more than %v", path, Size(maxFile))
	}
	f.read, f.exists, f.mode = slices.Clone(f.data), true, fi.Mode().Perm()
	return f, nil
}

func unreadable(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return errs.WithHint(errs.New(errs.Configuration, "%s: %w", path, err), "check that it can be read: ls -l %s", path)
}

// Path returns the name of the file.
func (f *File) Path() string { return f.path }

// Exists reports whether the file was there when it was read.
func (f *File) Exists() bool { return f.exists }

// Bytes returns what the file has, edits included.
func (f *File) Bytes() []byte { return slices.Clone(f.data) }

// Check tells whether the file, by itself, is a configuration that makes sense.
// Kind: Configuration.
func (f *File) Check() error {
	_, err := f.Config()
	return err
}

// Config returns the settings that the file makes, without the environment.
// Kind: Configuration.
func (f *File) Config() (Config, error) {
	c := Default()
	c.origins = map[string]string{}
	if err := f.apply(&c); err != nil {
		return c, err
	}
	return c, c.check()
}

// apply makes the settings of the file in c. Kind: Configuration.
func (f *File) apply(c *Config) error {
	d, err := f.parse()
	if err != nil {
		return err
	}
	settings := c.settings()
	for _, t := range d.tables {
		if err := checkTable(t, settings); err != nil {
			return f.at(err)
		}
	}
	for _, e := range d.entries {
		if err := f.applyEntry(c, settings, e); err != nil {
			return f.at(err)
		}
	}
	return nil
}

// parse reads the document, if it is of a version that this program knows.
func (f *File) parse() (*document, error) {
	d, err := parse(f.data)
	if err != nil {
		line := 1
		if e, ok := errors.AsType[lineError](err); ok {
			line = e.line
		}
		return nil, errs.WithHint(f.at(err), `mend line %d, or move the file away; see whether it is right with "datamesh config validate"`, line)
	}
	if e := d.find("", "version"); e != nil {
		if n, err := strconv.ParseInt(e.texts[0], 0, 64); e.kind != unstable.Integer || err != nil || n != fileVersion {
			return nil, f.at(lineError{e.line, errs.WithHint(
				errs.New(errs.Configuration, "it is of version %s; this program knows version %d", f.data[e.value:e.end], fileVersion),
				"a newer datamesh may have written it; move it away, or use that one")})
		}
	}
	return d, nil
}

// at names file and line of an error.
func (f *File) at(err error) error {
	if e, ok := errors.AsType[lineError](err); ok {
		return fmt.Errorf("%s:%d: %w", f.path, e.line, err)
	}
	return fmt.Errorf("%s: %w", f.path, err)
}

const networkSection = "networks"

// sections lists the sections of the file.
func sections(settings []setting) []string {
	all := []string{networkSection}
	for _, s := range settings {
		if !slices.Contains(all, s.section()) {
			all = append(all, s.section())
		}
	}
	return all
}

func checkTable(t table, settings []setting) error {
	all := sections(settings)
	if !slices.Contains(all, t.section) {
		return unknown(t.line, "section ["+t.section+"]", "["+nearest(t.section, all)+"]")
	}
	if t.array {
		return lineError{t.line, errs.WithHint(errs.New(errs.Configuration, "[[%s]] is a list of sections", t.section), "write [%s]", t.section)}
	}
	return nil
}

func unknown(line int, what, near string) error {
	return lineError{line, errs.WithHint(errs.New(errs.Configuration, "there is no %s", what), "did you mean %s?", near)}
}

func (f *File) applyEntry(c *Config, settings []setting, e entry) error {
	switch {
	case e.key() == "version":
		return nil
	case e.section == networkSection:
		n, err := networkOf(e)
		if err == nil {
			c.Networks = append(c.Networks, n)
		}
		return err
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == e.key() })
	if i < 0 {
		if all := sections(settings); e.section != "" && !slices.Contains(all, e.section) {
			return unknown(e.line, "section ["+e.section+"]", "["+nearest(e.section, all)+"]")
		}
		return unknown(e.line, "setting "+e.key(), nearest(e.key(), append(keys(settings), "version")))
	}
	s := settings[i]
	value, err := s.decode(e)
	if err == nil {
		err = s.set(value)
	}
	if err != nil {
		return lineError{e.line, errs.WithHint(errs.New(errs.Configuration, "%s is %s: %w", s.key, f.data[e.value:e.end], err),
			"%s accepts %s; write it like %s = %s", s.key, s.accept, s.name(), s.example())}
	}
	c.origins[s.key] = fmt.Sprintf("file %s:%d", f.path, e.line)
	return nil
}

// networkOf reads a network. Its errors are lineErrors.
func networkOf(e entry) (Network, error) {
	fail := func(err error) (Network, error) {
		return Network{}, lineError{e.line, errs.WithHint(errs.New(errs.Configuration, "network %s: %w", e.name, err), "%s", errs.HintFor(err))}
	}
	if err := CheckNetworkName(e.name); err != nil {
		return fail(err)
	}
	if e.kind != unstable.Array {
		return fail(errs.WithHint(errs.New(errs.Invalid, "it is no list of peers"), `write it like %s = ["PEER_ID@ADDR"]`, e.name))
	}
	peers, err := parsePeers(e.texts)
	if err != nil {
		return fail(err)
	}
	return Network{e.name, peers}, nil
}

// decode returns an entry as set reads it. Kind: Invalid.
func (s setting) decode(e entry) (string, error) {
	want := "a string in quotes"
	switch s.form {
	case text:
		if e.kind == unstable.String {
			return e.texts[0], nil
		}
	case sizeText:
		if e.kind == unstable.String || e.kind == unstable.Integer {
			return e.texts[0], nil
		}
		want = "a string in quotes or a number"
	case number:
		if e.kind == unstable.Integer {
			return e.texts[0], nil
		}
		want = "a whole number"
	case boolean:
		if e.kind == unstable.Bool {
			return e.texts[0], nil
		}
		want = "true or false"
	case list:
		hasComma := func(t string) bool { return strings.Contains(t, ",") }
		if e.kind == unstable.Array && !slices.ContainsFunc(e.texts, hasComma) {
			return strings.Join(e.texts, ","), nil
		}
		want = "a list of strings"
	}
	return "", errs.New(errs.Invalid, "it is not %s", want)
}

// example returns a value of the setting as the file would have it.
func (s setting) example() string {
	defaults := Default()
	d, _ := defaults.setting(s.key) // it is one
	value := d.get()
	switch {
	case s.key == "mesh.bootstrap":
		value = Local
	case value == "" && s.form == text:
		value = "a name"
	case s.key == "store.capacity":
		value = "500G"
	}
	return s.encode(value)
}
