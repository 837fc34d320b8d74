package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/backup"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

func (c *cli) backupCommand() *cobra.Command {
	var (
		o       backup.RunOptions
		exclude []string
		caches  bool
	)
	cmd := &cobra.Command{
		Use:   "backup DIR --name NAME",
		Short: "back up a directory, as a snapshot of what has changed",
		Long: `Backs up a directory with all that is in it, as a snapshot that "datamesh restore"
brings back whole. What any of your snapshots has already, on whichever of your
devices it was made, is not sent again; files that have not changed since the
last snapshot of the name are not read. What ".datameshignore" files say, as
.gitignore files do, is left out, and so are the home of datamesh, devices,
sockets and pipes.

Snapshots are deleted as files are, with "datamesh rm". What no snapshot needs
any more goes with a later backup, a day after it is known that none does, and
can be brought back for 7 days then.

In the end the mesh is asked whether all can be read that the snapshot shares with
others. What cannot, since too many are away that have it, ends it with 5: --force
puts it anew.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(completeDirs),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Name, "name", "", "`NAME` of the backup; each of its snapshots has it")
	flags.BoolVar(&o.Force, "force", false, "read all files, also those that have not changed by their size, times and inode, and put anew what the mesh cannot show now")
	flags.StringArrayVar(&exclude, "exclude", nil, "leave out what matches `PATTERN`, as in a .gitignore; may be repeated")
	flags.BoolVar(&caches, "exclude-caches", false, "leave out what is in directories that have a CACHEDIR.TAG")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"name": c.completeObjects})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Name == "" {
			return errs.WithHint(errs.New(errs.Invalid, "the backup has no name"), "datamesh backup %s --name %s", quoteWord(args[0]), quoteWord(filepath.Base(args[0])))
		}
		if err := node.CheckName(o.Name); err != nil {
			return err
		}
		filter, err := c.withoutHome(tree.Options{Exclude: exclude, Caches: caches}, args[0])
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		source, err := openDir(args[0], filter)
		if err != nil {
			return fmt.Errorf("backup %s: %w", args[0], err)
		}
		defer source.Close()
		o.Path, o.Host = absolute(args[0]), hostname()
		return c.withBackups(cmd.Context(), func(a *backup.Archive) error {
			return c.backup(cmd.Context(), a, source, args[0], o)
		})
	}
	return cmd
}

func (c *cli) backup(ctx context.Context, a *backup.Archive, source *tree.Tree, dir string, o backup.RunOptions) error {
	t := c.follows(a, "backup")
	counted, stopCounting := context.WithCancel(ctx)
	var counter sync.WaitGroup
	if !c.json && !c.quiet {
		counter.Go(func() { t.countTree(counted, source) })
	}
	stop := c.tell(ctx, t)
	r, err := a.Run(ctx, source, o)
	stopCounting()
	counter.Wait()
	stop()
	if err != nil {
		return backupEnded(ctx, dir, err)
	}
	if swept, err := a.Sweep(ctx); err == nil {
		r.Swept = *swept
	} else {
		c.warn("what no backup needs any more could not be deleted: %v", err)
	}
	c.warnFailures(r.Failed, r.Failures)
	if err := c.print(r, func(w io.Writer) {
		row(w, "id", r.ID)
		row(w, "name", r.Name)
		row(w, "tree", treeText(r.Files, r.Dirs, r.Links, r.Bytes))
		row(w, "read", size(r.Read))
		row(w, "new", size(r.NewBytes))
		row(w, "survives", survives(r.Survives))
	}); err != nil {
		return err
	}
	if r.Failed > 0 {
		return errs.WithHint(errs.New(errs.Partial, "backup %s: %s could not be read, and all else is backed up", dir, count(r.Failed, "file")),
			"see what is wrong with them above, and type the same again")
	}
	c.next("restore %s DIR", typable(r.Name, r.ID))
	return nil
}

// follows has a tally count what a backup or a restore does, and what it notes be
// written above the bar of that.
func (c *cli) follows(a *backup.Archive, verb string) *tally {
	t := c.newTally(verb)
	a.Events.Total = func(files, bytes int64) {
		t.allFiles.Store(files)
		t.allBytes.Store(bytes)
	}
	a.Events.Done = func(files, bytes int64) {
		t.done.Add(files)
		t.bytes.Add(bytes)
	}
	a.Events.Note = func(text string) { t.warn(text) }
	return t
}

// countTree counts the files of a tree, for people to see how far a backup is.
func (t *tally) countTree(ctx context.Context, source *tree.Tree) {
	var files, bytes int64
	for e, err := range source.Walk(ctx) {
		if err == nil && e.Type == "" {
			files++
			bytes += e.Size
		}
	}
	if ctx.Err() == nil {
		t.allFiles.Store(files)
		t.allBytes.Store(bytes)
	}
}

// backupEnded adds to the error of a backup what can be done.
func backupEnded(ctx context.Context, dir string, err error) error {
	err = fmt.Errorf("backup %s: %w", dir, err)
	if ctx.Err() != nil {
		return errs.WithHint(err, "type the same again: what is in the mesh is not sent twice")
	}
	return err
}

// warnFailures tells of the first files that could not be read or written.
func (c *cli) warnFailures(all int, list []backup.Failure) {
	const most = 20
	for _, f := range list[:min(most, len(list))] {
		if strings.HasPrefix(f.Error, f.Path+":") || strings.HasPrefix(f.Error, f.Path+" ") {
			c.warn("%s", f.Error)
		} else {
			c.warn("%s: %s", f.Path, f.Error)
		}
	}
	if all > most {
		c.warn("and %s more; --json has up to 1000", count(all-most, "file"))
	}
}

func treeText(files, dirs, links, bytes int64) string {
	return fmt.Sprintf("%s in %s, %s and %s", size(bytes), many(files, "file", "files"), many(dirs, "directory", "directories"), many(links, "link", "links"))
}

// many returns "1 file" or "6 files".
func many(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

// withBackups runs f with the archive of the home's backups.
func (c *cli) withBackups(ctx context.Context, f func(*backup.Archive) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return c.withOpenKeys(ctx, o, func(ops api.Operations) error {
		if _, err := ops.Identity(ctx); err != nil { // which makes one if there is none yet
			return err
		}
		keys, err := o.Keys.Load()
		if err != nil {
			return err
		}
		var k backup.Keys
		k.Cuts, k.IDs = keys.Chunks()
		a, err := backup.Open(ctx, o.User.Backups(), k, ops)
		if err != nil {
			return err
		}
		defer a.Close()
		a.Events.Waits = func() { c.notice("another backup of this home is under way; this one waits for it") }
		a.Events.Note = func(text string) { c.warn("%s", text) } // unless it is followed
		return f(a)
	})
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil && len(abs) <= tree.MaxPath {
		return strings.ToValidUTF8(abs, "\uFFFD")
	}
	return ""
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || len(name) > 256 {
		return ""
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}
