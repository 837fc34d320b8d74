// Package archive writes the entries of a tree as tar and zip archives, and
// reads such archives, whoever made them.
//
// A [Writer] and a [Reader] hold no file in memory. What a writer has not closed
// has no end, and is taken for whole by nobody. A reader yields entries whose
// paths, links and sizes hold what package tree promises of them: a path is below
// the top, is there once, and leads through no link and no file; a link stays
// within the archive; and no more is unpacked than a limit allows. The first
// entry that does not ends the reading, with an error that names it. Whoever reads
// a file, and not a stream, can have all entries looked through before he believes
// the first; what content those of a zip have shows only when it is read.
package archive

import (
	"path"
	"strings"

	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

// A Format is a kind of archive, as users write it.
type Format string

const (
	Tar   Format = "tar"
	TarGz Format = "tar.gz"
	Zip   Format = "zip"
)

// ParseFormat reads a format. Kind: Invalid.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Tar, TarGz, Zip:
		return f, nil
	case "tgz":
		return TarGz, nil
	}
	return "", errs.New(errs.Invalid, "%q is none of the formats tar, tar.gz and zip", s)
}

// FormatOf returns the format that the ending of a file's name stands for, or "".
func FormatOf(file string) Format {
	file = strings.ToLower(file)
	for _, e := range []struct {
		ending string
		format Format
	}{{".tar", Tar}, {".tar.gz", TarGz}, {".tgz", TarGz}, {".zip", Zip}} {
		if strings.HasSuffix(file, e.ending) {
			return e.format
		}
	}
	return ""
}

// Limits of what is read. None depends on what an archive says of itself.
const (
	MaxEntries   = 1_000_000 // of one archive, with the directories that lead to them
	MaxDirectory = 32 << 20  // bytes of the directory of a zip
	MaxRatio     = 100       // bytes that one byte of an archive may come to, above DefaultSize
	DefaultSize  = 1 << 30   // bytes that any archive may come to

	maxTail = 16 << 20 // bytes of padding after the end of a tar
)

// refuse is the error of an entry that is not taken. Kind: Import.
func refuse(name, format string, args ...any) error {
	const longest = 200
	if len(name) > longest {
		name = name[:longest] + "…"
	}
	return errs.WithHint(errs.New(errs.Import, "entry %q: %w", name, errs.New(errs.Import, format, args...)),
		"if you trust the archive, unpack it yourself, and store the directory: datamesh put -r DIR")
}

// checkPath returns the path of what an archive calls name, below the top, or
// "." for the top itself. Kind: Import.
func checkPath(name string, isDir bool) (string, error) {
	p := name
	for strings.HasPrefix(p, "./") {
		p = p[2:]
	}
	if isDir {
		p = strings.TrimSuffix(p, "/")
	}
	switch {
	case name == "":
		return "", refuse(name, "it has no name")
	case (p == "" || p == ".") && !strings.HasPrefix(name, "/") && isDir:
		return ".", nil
	case strings.HasPrefix(name, "/") || strings.HasPrefix(p, "/"):
		return "", refuse(name, "its path is absolute")
	case strings.ContainsRune(p, 0):
		return "", refuse(name, "its name has a NUL")
	case strings.Contains(p, `\`):
		return "", refuse(name, "its name has a backslash, which leads elsewhere on Windows")
	case hasDrive(p):
		return "", refuse(name, "its name begins with a drive of Windows")
	case strings.Contains("/"+p+"/", "/../"):
		return "", refuse(name, `its path leads out by ".."`)
	case p == ".":
		return "", refuse(name, "the top is a directory")
	}
	if err := tree.CheckPath(p); err != nil {
		return "", refuse(name, "%w", err)
	}
	return p, nil
}

func hasDrive(p string) bool {
	return len(p) > 1 && p[1] == ':' && ('a' <= p[0]|0x20 && p[0]|0x20 <= 'z')
}

// checkTarget refuses a symbolic link that may lead out of the archive. Each ".."
// in it must come before all else: after a name it would lead up from wherever
// that leads to, if it is a link itself. Kind: Import.
func checkTarget(name, p, target string) error {
	switch {
	case target == "" || len(target) > tree.MaxPath:
		return refuse(name, "a symbolic link leads to 1 to %d bytes", tree.MaxPath)
	case strings.HasPrefix(target, "/") || strings.Contains(target, `\`) || hasDrive(target):
		return refuse(name, "it is a link to %.200q, which leads out of the archive", target)
	}
	up, down := 0, false
	for element := range strings.SplitSeq(target, "/") {
		switch element {
		case "", ".":
		case "..":
			if down {
				return refuse(name, `it is a link to %.200q, with ".." after a name, which may lead out of the archive`, target)
			}
			up++
		default:
			down = true
		}
	}
	if up > depth(path.Dir(p)) {
		return refuse(name, "it is a link to %.200q, which leads out of the archive", target)
	}
	if err := tree.CheckTarget(target); err != nil {
		return refuse(name, "%w", err)
	}
	return nil
}

func depth(dir string) int {
	if dir == "." {
		return 0
	}
	return 1 + strings.Count(dir, "/")
}
