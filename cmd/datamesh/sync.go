package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/mirror"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// syncOptions say how a directory is kept the same as one of the catalog.
type syncOptions struct {
	dir, name string
	dryRun    bool
	twoWay    bool
	limit     mirror.Limit
	limited   bool // the user has said what it is
	filter    tree.Options
	memory    string // the directory of what is remembered
}

func (c *cli) syncCommand() *cobra.Command {
	var (
		o         syncOptions
		maxDelete string
		watch     bool
	)
	cmd := &cobra.Command{
		Use:   "sync DIR [NAME/]",
		Short: "keep a directory in the mesh as it is here, and with --two-way both the same",
		Long: `Has NAME/ in the mesh, by default the base name of DIR, be as DIR is: what is new
or has changed in size, permissions, time or type is stored, as "put -r" does,
and what is gone from DIR is deleted, so that "undelete" brings it back for 7 days.
What a .datameshignore file or --exclude leaves out is left alone on both sides.

If more than 100 files and more than 10 % would be deleted, nothing is done:
--max-delete says how many may be. A DIR that is empty or cannot be read, such as
where a disk is not mounted, deletes nothing; for several files of a directory
below it that is empty here --max-delete must be given. The home of datamesh and
what backups keep are left alone. If anything fails nothing is deleted.

With --two-way what has changed in the mesh comes here, too. Of what has changed
on both sides the one that was modified last keeps the name, and the other is
a version: "datamesh versions NAME" lists it. What was deleted on one side and
has changed on the other stays, and so does what the mesh only does not list.
A DIR that is another directory than the one that was synced last, as where a disk
is not mounted, deletes nothing unless --max-delete is given.

With --watch it goes on until it is interrupted: a second after something has
changed in DIR, and every 2 minutes, both sides are looked at again. A line is
printed each time that something was done, with --json a document without what
is unchanged.`,
		Args:              arity(1, 2),
		ValidArgsFunction: positional(completeDirs, c.completeObjects),
	}
	flags := cmd.Flags()
	flags.StringVar(&maxDelete, "max-delete", "", "`N` or N% of the files that may be deleted on a side (default 100 or 10%, whichever is more)")
	flags.StringArrayVar(&o.filter.Exclude, "exclude", nil, "leave out what matches `PATTERN`, as in a .gitignore; may be repeated")
	flags.StringArrayVar(&o.filter.Include, "include", nil, "sync only what matches `PATTERN`, or is below what does; may be repeated")
	flags.BoolVar(&o.filter.Caches, "exclude-caches", false, "leave out what is in directories with a CACHEDIR.TAG")
	flags.BoolVar(&o.twoWay, "two-way", false, "have what has changed in the mesh come here, too")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and change nothing")
	flags.BoolVar(&watch, "watch", false, "sync again whenever something changes here, and every 2 minutes, until it is interrupted")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.limit, err = parseLimit(maxDelete); err != nil {
			return errs.WithHint(err, "datamesh sync %s --max-delete 10%%", quoteWord(args[0]))
		}
		o.limited = maxDelete != ""
		if o.dir, o.name, err = syncNames(args); err != nil {
			return err
		}
		if watch && o.dryRun {
			return errs.WithHint(errs.New(errs.Invalid, "--watch does what --dry-run only says"), "give either of the two")
		}
		if watch {
			return c.withSync(cmd.Context(), o, func(ops api.Operations, o syncOptions) error {
				return c.watchSync(cmd.Context(), ops, o, watchUsual)
			})
		}
		return c.sync(cmd.Context(), o)
	}
	return cmd
}

// parseLimit reads how much may be deleted: a number, or a part of all. Kind:
// Invalid.
func parseLimit(text string) (mirror.Limit, error) {
	if text == "" {
		return mirror.DefaultLimit, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	if percent {
		part, err := strconv.ParseFloat(number, 64)
		if err == nil && part >= 0 && part <= 100 {
			return mirror.Limit{Percent: part}, nil
		}
	} else if n, err := strconv.Atoi(number); err == nil && n >= 0 {
		return mirror.Limit{N: n}, nil
	}
	return mirror.Limit{}, errs.New(errs.Invalid, "--max-delete: %q is neither a number from 0 up nor one of 0%% to 100%%", text)
}

// syncNames returns the directory, as an absolute path, and the name of that in
// the catalog, without a slash in the end. Kinds: IO, Invalid.
func syncNames(args []string) (dir, name string, err error) {
	if args[0] == "" {
		return "", "", errs.WithHint(errs.New(errs.Invalid, "the name of the directory is empty"), "datamesh sync DIR")
	}
	if dir, err = filepath.Abs(args[0]); err != nil {
		return "", "", errs.New(errs.IO, "%w", err)
	}
	name = filepath.Base(dir)
	if len(args) > 1 {
		name = strings.TrimSuffix(args[1], "/")
	}
	if err := tree.CheckPath(name); err != nil || name == "." || name == string(filepath.Separator) {
		return "", "", errs.WithHint(errs.New(errs.Invalid, "%q is no name for a tree", name), "datamesh sync %s NAME/", quoteWord(args[0]))
	}
	return dir, name, node.CheckName(name)
}

// sync has both directories be the same.
func (c *cli) sync(ctx context.Context, o syncOptions) error {
	return c.withSync(ctx, o, func(ops api.Operations, o syncOptions) error {
		s := &syncer{tally: c.newTally("sync"), ops: ops, o: o}
		s.batch.DryRun = o.dryRun
		if err := s.run(ctx, func() func() { return c.tell(ctx, s.tally) }); err != nil {
			return fmt.Errorf("sync %s: %w", o.dir, err)
		}
		return errors.Join(s.print(), s.end(o.dir))
	})
}

// withSync is withKeys, and says where what is remembered lies.
func (c *cli) withSync(ctx context.Context, o syncOptions, f func(api.Operations, syncOptions) error) error {
	at, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	o.memory = at.User.Syncs()
	if o.filter, err = c.withoutHome(o.filter, o.dir); err != nil {
		return err
	}
	return c.withKeys(ctx, func(ops api.Operations) error { return f(ops, o) })
}

// openSync opens the directory, which need not be there if it may be made. Kinds: as [openDir].
func openSync(o syncOptions) (*tree.Tree, error) {
	if _, err := os.Stat(o.dir); errors.Is(err, os.ErrNotExist) && o.twoWay {
		return tree.Nothing(o.filter)
	}
	return openDir(o.dir, o.filter)
}

// openDir opens a directory that somebody has named. Kinds: FileNotFound, IO, Invalid.
func openDir(dir string, o tree.Options) (*tree.Tree, error) {
	mounted := "check the path, and that its disk is mounted"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "there is no directory %s", dir), "%s", mounted)
	case err != nil:
		return nil, errs.WithHint(errs.New(errs.IO, "%w", err), "%s", mounted)
	case !info.IsDir():
		return nil, errs.WithHint(errs.New(errs.Invalid, "%s is no directory", dir), "datamesh put %s", quoteWord(dir))
	}
	return tree.Open(dir, o)
}
