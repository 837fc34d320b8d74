package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"datamesh/internal/api"
	"datamesh/internal/archive"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// An archived is what came of an export.
type archived struct {
	Out         string   `json:"out"`
	Format      string   `json:"format"`
	Files       int64    `json:"files"`
	Directories int64    `json:"directories"`
	Links       int64    `json:"links"`
	Bytes       int64    `json:"bytes"` // of content
	Warnings    []string `json:"warnings,omitempty"`
	DryRun      bool     `json:"dry_run,omitempty"`
}

// exportOptions say how an archive is written.
type exportOptions struct {
	out    string // "-" is standard output
	format archive.Format
	force  bool
	dryRun bool

	written *atomic.Int64 // bytes on standard output
}

func (c *cli) exportCommand() *cobra.Command {
	var o exportOptions
	var format string
	cmd := &cobra.Command{
		Use:   "export ID|NAME|DIR/|PATTERN…",
		Short: "write what is stored as one tar or zip archive",
		Long: `Writes objects as one archive, under their names, with permissions, times, symbolic
links and empty directories. The name of a directory is all that is stored below it,
and a pattern what it matches, as "datamesh get" takes them. The ending of FILE
says what it is: .tar, .tar.gz or .tgz, or .zip. Snapshots of backups are left out:
"datamesh restore" brings back what they have.

Without FILE, or with "-", the archive goes to standard output. Everything is
verified as it is read. If something cannot be read, no FILE appears, and what was
written to standard output breaks off, which tar and unzip notice.

A tar keeps times to the nanosecond, a zip to the second, from 1980 to 2105. What
was stored without a time has that when it was stored, and what has no permissions,
since it came from standard input, has 0644.`,
		Args:              arity(1, -1),
		ValidArgsFunction: c.completeObjects,
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "output", "o", "-", "`FILE` to write; \"-\" is standard output")
	flags.StringVar(&format, "format", "", "`FORMAT`: tar, tar.gz or zip (default what the ending of FILE says; tar for standard output)")
	flags.BoolVar(&o.force, "force", false, "overwrite FILE; print to a terminal")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be written, and write nothing")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"output": completeFiles, "format": completeFormats})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errs.WithHint(errs.New(errs.Invalid, "the name of an object is empty"), "datamesh export NAME -o FILE.tar")
		}
		if err := o.choose(args[0], format); err != nil {
			return err
		}
		if f, ok := c.out.(*os.File); ok && o.out == "-" && !o.force && !o.dryRun && term.IsTerminal(int(f.Fd())) {
			return errs.WithHint(errs.New(errs.Invalid, "an archive is nothing to read on a terminal"), "datamesh export %s -o FILE.tar", quoteWord(args[0]))
		}
		o.written = new(atomic.Int64)
		var failed error // half an archive is on standard output: another does not go behind it
		return c.withKeys(cmd.Context(), func(ops api.Operations) error {
			if failed != nil {
				return failed
			}
			err := c.export(cmd.Context(), ops, args, o)
			if o.written.Load() > 0 {
				failed = err
			}
			return err
		})
	}
	return cmd
}

func completeFormats(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{string(archive.Tar), string(archive.TarGz), string(archive.Zip)}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// choose finds out the format, and whether the file may be written. What counts in
// the end is the commit, which never overwrites by accident. Kinds: Exists,
// FileNotFound, Invalid, IO.
func (o *exportOptions) choose(ref, format string) (err error) {
	typed := "datamesh export " + quoteWord(ref)
	if o.out == "" {
		return errs.WithHint(errs.New(errs.Invalid, "the name of the file to write is empty"), "%s -o FILE.tar", typed)
	}
	if o.out != "-" {
		o.format = archive.FormatOf(o.out)
	}
	if format != "" {
		asked, err := archive.ParseFormat(format)
		switch {
		case err != nil:
			return errs.WithHint(errs.New(errs.Invalid, "--format: %w", err), "%s --format tar", typed)
		case o.format != "" && o.format != asked:
			return errs.WithHint(errs.New(errs.Invalid, "%s is called like a %s, and --format says %s", o.out, o.format, asked), "leave --format out, or give FILE another ending")
		}
		o.format = asked
	}
	if o.out == "-" {
		o.format = cmp.Or(o.format, archive.Tar)
		return nil
	}
	if o.format == "" {
		return errs.WithHint(errs.New(errs.Invalid, "%s does not say which format it is to have", o.out), "%s -o FILE.tar, or --format tar", typed)
	}
	dir := filepath.Dir(o.out)
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return errs.WithHint(errs.New(errs.FileNotFound, "there is no directory %s", dir), "make it: mkdir -p %s", quoteWord(dir))
	}
	fi, err := os.Lstat(o.out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return errs.New(errs.IO, "%w", err)
	case !fi.Mode().IsRegular() && fi.Mode().Type() != fs.ModeSymlink:
		return errs.WithHint(errs.New(errs.Exists, "%s is there and no regular file", o.out), "%s >%s", typed, quoteWord(o.out))
	case !o.force:
		return errArchiveExists(o.out)
	}
	return nil
}

func errArchiveExists(file string) error {
	return errs.WithHint(errs.New(errs.Exists, "%s exists", file), "overwrite it with --force, or give another FILE")
}

// export writes what the refs mean.
func (c *cli) export(ctx context.Context, ops api.Operations, refs []string, o exportOptions) error {
	what := strings.Join(refs, " ")
	objects, err := chooseAll(ctx, ops, refs)
	if err == nil {
		err = archive.Check(o.format, func(yield func(tree.Entry) bool) {
			for _, object := range objects {
				if !yield(entryOf(object)) {
					return
				}
			}
		})
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", what, err)
	}
	t := c.newTally("export")
	x := &exporting{tally: t, ops: ops, objects: objects, done: archived{Out: o.out, Format: string(o.format), DryRun: o.dryRun}}
	if !o.dryRun {
		t.allFiles.Store(int64(len(objects)))
		for _, object := range objects {
			t.allBytes.Add(object.Size)
		}
		stop := c.tell(ctx, t)
		err = x.write(ctx, o)
		stop()
	} else {
		for _, object := range objects {
			x.count(object.Type, object.Size)
		}
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", what, err)
	}
	x.done.Warnings = t.batch.Warnings
	switch {
	case o.out != "-" || o.dryRun:
		return c.print(x.done, x.text)
	case c.json: // standard output has the archive
		return writeJSON(c.err, x.done)
	}
	return nil
}

// chooseAll returns the newest object of each name that the refs mean, by name.
// Kinds: FileNotFound, Invalid.
func chooseAll(ctx context.Context, ops api.Operations, refs []string) ([]node.Object, error) {
	all := map[string]node.Object{}
	for _, ref := range refs {
		ref, err := spelledTop(ctx, ops, ref)
		if err != nil {
			return nil, err
		}
		o, none := objectOf(ctx, ops, ref)
		switch {
		case none != nil && !errors.Is(none, errs.FileNotFound):
			return nil, none
		case none == nil:
			if err := notBackup(ref, o.Type); err != nil {
				return nil, err
			}
		}
		s, err := choose(ctx, withoutBackups{ops}, ref)
		if err != nil {
			return nil, err
		}
		if len(s.objects) == 0 { // it is a file, or nothing
			if none != nil {
				return nil, none
			}
			s.objects = []node.Object{o}
		}
		for _, o := range s.objects {
			if other, twice := all[o.Name]; twice && other.ID != o.ID {
				return nil, errs.WithHint(errs.New(errs.Invalid, "%s is meant twice, as %s and as %s", o.Name, other.ID, o.ID), "export one after the other")
			}
			all[o.Name] = o
		}
	}
	list := make([]node.Object, 0, len(all))
	for _, o := range all {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b node.Object) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// isBackup reports whether objects of a media type are what backups consist of,
// which nothing else reads.
func isBackup(mediaType string) bool {
	return mediaType == format.SnapshotType || format.Internal(mediaType)
}

// notBackup refuses what a backup consists of. Kind: Invalid.
func notBackup(ref, mediaType string) error {
	switch {
	case mediaType == format.SnapshotType:
		return errs.WithHint(errs.New(errs.Invalid, "%s is a snapshot of a backup", ref), "bring back what it has: datamesh restore %s DIR", quoteWord(ref))
	case isBackup(mediaType):
		return errs.WithHint(errs.New(errs.Invalid, "%s is a part of backups", ref), `see what they have: datamesh backups`)
	}
	return nil
}

// withoutBackups lists nothing that a backup consists of.
type withoutBackups struct{ api.Operations }

func (w withoutBackups) List(ctx context.Context, o node.ListOptions, each func(node.Object) error) error {
	return w.Operations.List(ctx, o, func(o node.Object) error {
		if isBackup(o.Type) {
			return nil
		}
		return each(o)
	})
}

// objectOf returns the object of an id, or the newest of a name. Kind: FileNotFound.
func objectOf(ctx context.Context, ops api.Operations, ref string) (found node.Object, err error) {
	any := false
	err = ops.List(ctx, node.ListOptions{}, func(o node.Object) error { // the newest first
		if !any && (o.Name == ref || o.ID.String() == ref) {
			found, any = o, true
		}
		return nil
	})
	if err == nil && !any {
		err = errs.New(errs.FileNotFound, "you have stored nothing that is called %s", ref)
	}
	return found, err
}

func entryOf(o node.Object) tree.Entry {
	e := tree.Entry{Path: o.Name, Type: fileKind(o.Type), Size: o.Size, Mode: o.Mode, ModTime: o.ModTime}
	if e.ModTime.IsZero() {
		e.ModTime = o.Created
	}
	return e
}

// An exporting is an export on its way.
type exporting struct {
	*tally
	ops     api.Operations
	objects []node.Object
	done    archived
}

// write writes the archive, or fails and leaves none that has its end.
func (x *exporting) write(ctx context.Context, o exportOptions) error {
	if o.out == "-" {
		return x.entries(ctx, counted{output{x.c.out}, o.written}, o)
	}
	file, err := durable.Create(o.out, 0o600) // some of what is in it may be for its owner alone
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := x.entries(ctx, file, o); err != nil {
		return err
	}
	err = file.Commit(o.force)
	if errors.Is(err, errs.Exists) {
		return errArchiveExists(o.out)
	}
	return err
}

func (x *exporting) entries(ctx context.Context, w io.Writer, o exportOptions) error {
	a := archive.NewWriter(w, o.format)
	ahead := x.readAhead(ctx)
	defer ahead.stop()
	for _, object := range x.objects {
		if err := x.entry(ctx, a, ahead, object); err != nil {
			if o.written.Load() > 0 || !errors.Is(err, errs.Decryption) { // or it may begin again, with other keys
				a.Abandon(object.Name)
			}
			return err
		}
		x.tally.done.Add(1)
		x.count(object.Type, object.Size)
	}
	return a.Close()
}

func (x *exporting) count(kind string, bytes int64) {
	switch fileKind(kind) {
	case tree.Directory:
		x.done.Directories++
	case tree.Symlink:
		x.done.Links++
	default:
		x.done.Files++
		x.done.Bytes += bytes
	}
}

func (x *exporting) text(w io.Writer) {
	d := &x.done
	all := treeText(d.Files, d.Directories, d.Links, d.Bytes)
	if d.DryRun {
		fmt.Fprintf(w, "would write %s to %s, as %s\n", all, plain(d.Out), d.Format)
		return
	}
	row(w, "tree", all)
	row(w, "out", d.Out)
}

// entry writes one object.
func (x *exporting) entry(ctx context.Context, a *archive.Writer, ahead *lookahead, o node.Object) error {
	e := entryOf(o)
	if e.Type == tree.Directory {
		_, err := a.Add(e)
		return err
	}
	if isEarly(o) {
		got, err := ahead.next(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
		if e.Size = int64(got.Len()); e.Type == tree.Symlink {
			e.Target, e.Size = got.String(), 0
			if err := tree.CheckTarget(e.Target); err != nil {
				return fmt.Errorf("%s: %w", o.Name, err)
			}
		}
		w, err := a.Add(e)
		if err == nil && e.Type == "" {
			_, err = got.WriteTo(w)
		}
		return err
	}
	err := x.read(ctx, o, func(info node.ObjectInfo) (io.Writer, error) {
		e.Size = info.Size
		return a.Add(e)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	return nil
}

// read reads an object.
func (x *exporting) read(ctx context.Context, o node.Object, open func(node.ObjectInfo) (io.Writer, error)) error {
	fetched, err := x.ops.Get(ctx, o.ID.String(), node.GetOptions{}, func(info node.ObjectInfo) (io.Writer, error) {
		w, err := open(info)
		return counted{w, &x.bytes}, err
	})
	if err != nil {
		return err
	}
	for _, b := range fetched.Bad {
		x.warn(fmt.Sprintf("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason))
	}
	return nil
}

// isEarly reports whether an object is read before its turn: it is small, and most
// of what it takes is waiting.
func isEarly(o node.Object) bool {
	return o.Size <= readAhead && fileKind(o.Type) != tree.Directory
}

// A lookahead reads small objects in their order, a few at once.
type lookahead struct {
	queue   chan *early // is closed by nobody: its reader knows how many come
	cancel  context.CancelFunc
	reading sync.WaitGroup
}

// An early object is one that is read before its turn.
type early struct {
	bytes.Buffer
	err  error
	done chan struct{} // is closed when it is read
}

func (x *exporting) readAhead(ctx context.Context) *lookahead {
	ctx, cancel := context.WithCancel(ctx)
	l := &lookahead{queue: make(chan *early, atOnce), cancel: cancel}
	l.reading.Go(func() {
		for _, o := range x.objects {
			if !isEarly(o) {
				continue
			}
			e := &early{done: make(chan struct{})}
			select {
			case l.queue <- e:
			case <-ctx.Done():
				return
			}
			l.reading.Go(func() {
				defer close(e.done)
				e.err = x.read(ctx, o, func(info node.ObjectInfo) (io.Writer, error) {
					if info.Size > readAhead {
						return nil, errs.New(errs.Integrity, "it has %d bytes, and the catalog says %d", info.Size, o.Size)
					}
					return &e.Buffer, nil
				})
			})
		}
	})
	return l
}

// next returns what is next in order, when it is read.
func (l *lookahead) next(ctx context.Context) (*early, error) {
	select {
	case e := <-l.queue:
		select {
		case <-e.done:
			return e, e.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return nil, ctx.Err()
}

// stop ends what is read, and waits for that.
func (l *lookahead) stop() {
	l.cancel()
	l.reading.Wait()
}
