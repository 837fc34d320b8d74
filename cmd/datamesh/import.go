package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/archive"
	"datamesh/internal/compress"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

func (c *cli) importCommand() *cobra.Command {
	var (
		o           node.PutOptions
		opt         treeOptions
		tags        string
		minSurvives uint8
		maxSize     string
	)
	cmd := &cobra.Command{
		Use:   "import ARCHIVE",
		Short: "store what is in a tar or zip archive",
		Long: `Stores each file, directory and symbolic link of a tar, tar.gz or zip under its
path in the archive, as "datamesh put -r" stores a directory, without unpacking it;
"-" is standard input, from which a zip cannot be read unless it is a file. What
the archive is shows in its first bytes. What is stored already, with the same size,
permissions and time, is not stored again, so that an import which was interrupted
goes on when the same is typed again. A file without a time always is, and so are all
if several have one time, or two, as in packages of npm, Cargo and Go: such times do
not tell what has changed. A stream's are stored until a third time comes.

An archive may come from anyone. One with an entry whose path or link leads out of
it, that is there twice, or that lies behind a link or a file, is refused, and the
entry is named; so is one that comes to more than 1 GiB and more than 100 times
its own size, unless --max-size says otherwise. A file is looked through before
anything of it is stored, and of a zip the directory; a damaged file in a zip fails
alone. A stream ends at such an entry, and what came before it is stored and
reported. Devices, sockets and pipes are left out.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(completeFiles),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Name, "name", "", "`PREFIX/` of all names (default none)")
	flags.StringVar(&tags, "tags", "", "`TAGS` to remember all by, separated by commas")
	flags.StringArrayVar(&o.To, "to", nil, "`RECIPIENT` who may read all of it too; may be repeated")
	flags.StringVar(&o.Code, "code", "", "`K+M`: any K of K+M shards suffice (default put.code: 4+2)")
	flags.StringVar(&o.Compress, "compress", "", "`MODE`: auto, max, or off (default put.compress: auto)")
	flags.Uint8Var(&minSurvives, "min-survives", 0, "`N` peers whose loss each must survive, or it fails")
	flags.BoolVar(&opt.all, "all", false, "store again what is stored already")
	flags.BoolVar(&opt.dryRun, "dry-run", false, "look through it, say what it would come to, and store nothing")
	flags.StringVar(&maxSize, "max-size", "1G", "`SIZE` that it may come to, however small it is itself")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"code": completeCodes, "compress": completeModes, "name": c.completeObjects})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := strings.TrimSuffix(o.Name, "/")
		if err := tree.CheckPath(name); flags.Changed("name") && (err != nil || name == ".") {
			return errs.WithHint(errs.New(errs.Invalid, "%q is no name for a tree", o.Name), "give another with --name PREFIX/, or leave it out")
		}
		limit, err := config.ParseSize(maxSize)
		if err == nil && limit == 0 {
			err = errs.New(errs.Invalid, "0 bytes are nothing")
		}
		if err != nil {
			return errs.WithHint(errs.New(errs.Invalid, "--max-size: %w", err), "datamesh import %s --max-size 10G", quoteWord(args[0]))
		}
		if flags.Changed("compress") {
			if _, err := compress.ParseMode(o.Compress); err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--compress: %w", err), "datamesh import %s --compress max", quoteWord(args[0]))
			}
		}
		if o.Code != "" {
			if _, err := config.ParseCode(o.Code); err != nil {
				return errs.WithHint(err, "datamesh import %s --code 4+2", quoteWord(args[0]))
			}
		}
		if flags.Changed("min-survives") {
			n := int(minSurvives)
			o.MinSurvives = &n
		}
		o.Name, o.Tags = "", splitTags(tags)
		u, err := c.openImport(cmd.Context(), args[0], name, int64(limit))
		if err != nil {
			return importError(args[0], err)
		}
		defer u.Close()
		if n := u.toUnpack(); n >= longLook {
			c.notice("%s are looked through before anything of them is stored", size(n))
		}
		if err := u.lookThrough(); err != nil {
			return importError(args[0], err)
		}
		return c.putAll(cmd.Context(), "import", args[0], u, o, opt)
	}
	return cmd
}

// longLook is how large an archive is that takes a while to look through.
const longLook = 1 << 30

func importError(file string, err error) error { return fmt.Errorf("import %s: %w", file, err) }

// openImport opens an archive: a file of that name, or standard input, which may
// be one, too. Kinds: FileNotFound, Import, Integrity, Invalid, IO.
func (c *cli) openImport(ctx context.Context, file, prefix string, limit int64) (*unpacking, error) {
	u := &unpacking{path: file, prefix: prefix}
	in := c.in
	if file == "-" {
		if c.inConsole {
			return nil, errs.WithHint(errs.New(errs.Invalid, "standard input is what the console reads its lines from"),
				"leave it with exit, and type datamesh import - in a shell")
		}
		u.source = wholeFile(c.in)
	} else {
		s, err := openSource(ctx, file)
		if err != nil {
			return nil, err
		}
		in, u.file = s, s
		if s.regular() {
			u.source = s
		}
	}
	ctx, u.cancel = context.WithCancel(ctx)
	var err error
	if u.source != nil {
		u.archive, err = archive.Open(fileWithin{ctx, u.source.file}, u.source.size(), limit)
	} else {
		u.archive, err = archive.Stream(cancellable(ctx, in), limit)
	}
	if err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// A fileWithin is a file that is read as long as ctx goes on.
type fileWithin struct {
	ctx context.Context
	io.ReaderAt
}

func (f fileWithin) ReadAt(p []byte, at int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.ReaderAt.ReadAt(p, at)
}

// wholeFile returns the source of a reader that stands at the beginning of a
// regular file, or nil.
func wholeFile(r io.Reader) *source {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	s, err := newSource(f)
	if err != nil || !s.regular() {
		return nil
	}
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 0 {
		return nil
	}
	return s
}
