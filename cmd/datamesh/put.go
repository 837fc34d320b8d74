package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/compress"
	"datamesh/internal/config"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) putCommand() *cobra.Command {
	var (
		o           node.PutOptions
		tags        string
		minSurvives uint8
		dryRun      bool
		trees       treeOptions
	)
	cmd := &cobra.Command{
		Use:     "put FILE…",
		Aliases: []string{"upload"},
		Short:   "store files, and with -r directories",
		Long: `Stores a file on the mesh; "-" is standard input. With -r it stores directories,
each file in them under the name of the directory, a slash and its path there:
"get" brings all of it back by the name of the directory. Symbolic links are
stored as such. What is stored already, with the same size, permissions and
time, is not stored again, so that a put which was interrupted goes on when the
same is typed again. A file .datameshignore in a directory says what is left
out there, as a .gitignore does for Git. The home of datamesh is always left out.

The media type of a file, which "datamesh list --type" goes by, is found by how it
begins, and else by the ending of its name.

When a put returns, the name and all that "list" shows survive what the file does.
With --async they are on this machine alone for a while: if it is lost before they
are sent, the file is in the mesh and no list has it.

What a sample says can be made shorter by a sixteenth is compressed before it
is sealed, each 16 MiB by themselves: fast, or with --compress max as well as it can,
which takes ten times as long. How much is stored then tells how well the content
can be compressed: --compress off does without.

A RECIPIENT is what "datamesh id" prints, or any of age's: age1…, age1pq1…, or that
of a plugin, age1NAME1…, whose program age-plugin-NAME must be installed.`,
		Args:              arity(1, -1),
		ValidArgsFunction: completeFiles,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Name, "name", "", "`NAME` to store it under, or DIR/ for its own name below that (default the name of the file)")
	flags.StringVar(&tags, "tags", "", "`TAGS` to remember it by, separated by commas")
	flags.StringArrayVar(&o.To, "to", nil, "`RECIPIENT` who may read it too; may be repeated")
	flags.StringVar(&o.Code, "code", "", "`K+M`: any K of K+M shards suffice (default put.code: 4+2)")
	flags.StringVar(&o.Compress, "compress", "", "`MODE`: auto, max, or off (default put.compress: auto)")
	flags.Uint8Var(&minSurvives, "min-survives", 0, "`N` peers whose loss it must survive, or the put fails")
	flags.BoolVarP(&trees.recursive, "recursive", "r", false, "store directories, with all that is in them")
	flags.BoolVar(&trees.all, "all", false, "with -r or several files: store again what is stored already")
	flags.StringArrayVar(&trees.filter.Exclude, "exclude", nil, "with -r: leave out what matches `PATTERN`, as in a .gitignore; may be repeated")
	flags.StringArrayVar(&trees.filter.Include, "include", nil, "with -r: store only what matches `PATTERN`, or is below what does; may be repeated")
	flags.BoolVar(&trees.filter.Caches, "exclude-caches", false, "with -r: leave out what is in directories with a CACHEDIR.TAG")
	flags.BoolVar(&dryRun, "dry-run", false, "say what it would come to, and store nothing")
	flags.BoolVar(&o.Unnamed, "async", false, "return before the mesh knows the name; a service of this home sends it, or the next command that changes something")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"code": completeCodes, "compress": completeModes})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errs.WithHint(errs.New(errs.Invalid, "the name of the file is empty"), "datamesh put FILE")
		}
		if args[0] == "-" && c.inConsole {
			return errs.WithHint(errs.New(errs.Invalid, "standard input is what the console reads its lines from"),
				"leave it with exit, and type datamesh put - in a shell")
		}
		o.Tags = splitTags(tags)
		if flags.Changed("min-survives") {
			n := int(minSurvives)
			o.MinSurvives = &n
		}
		if flags.Changed("compress") {
			if _, err := compress.ParseMode(o.Compress); err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--compress: %w", err), "datamesh put %s --compress max", quoteWord(args[0]))
			}
		}
		if o.Code != "" {
			if _, err := config.ParseCode(o.Code); err != nil {
				return errs.WithHint(err, "datamesh put %s --code 4+2", quoteWord(args[0]))
			}
		}
		if trees.dryRun = dryRun; trees.recursive || len(args) > 1 {
			if flags.Changed("name") && o.Name == "" {
				return errs.WithHint(errs.New(errs.Invalid, "--name is empty"), "leave it out, or give the name of the whole")
			}
			return c.putTree(cmd.Context(), args, o, trees)
		}
		for _, f := range []string{"exclude", "include", "exclude-caches"} {
			if flags.Changed(f) {
				return errs.WithHint(errs.New(errs.Invalid, "--%s says what of a directory to store, and %s is one file", f, args[0]), "leave it out, or store a directory: datamesh put -r DIR --%s …", f)
			}
		}
		switch below := strings.HasSuffix(o.Name, "/"); { // what a name is called that ends so is what is below it
		case args[0] == "-" && below:
			return errs.WithHint(errs.New(errs.Invalid, "%q is no name for a file", o.Name), "datamesh put - --name %sFILE", quoteWord(o.Name))
		case args[0] != "-" && (below || !flags.Changed("name")):
			o.Name += filepath.Base(args[0])
		}
		if err := node.CheckName(o.Name); err != nil {
			return err
		}
		return c.put(cmd.Context(), args[0], o, dryRun)
	}
	return cmd
}

func (c *cli) put(ctx context.Context, file string, o node.PutOptions, dryRun bool) error {
	content, regular := c.in, false
	if file != "-" {
		source, err := openSource(ctx, file)
		if err != nil {
			return err
		}
		defer source.Close()
		content, regular = source, source.regular()
		o.Mode, o.ModTime, o.Size = source.fileMode(), source.modTime(), source.size()
		if o.Source, err = source.fingerprint(); err != nil {
			return err
		}
	}
	if dryRun {
		return c.planPut(ctx, file, regular, o)
	}
	if !regular {
		content = cancellable(ctx, content) // nobody may ever write to it
	}
	o.Transfer = newTransfer()
	with := c.withKeys
	if slices.ContainsFunc(o.To, needsPlugin) {
		with = c.withPlugins
	}
	return with(ctx, func(ops api.Operations) error {
		stop := c.follow(ctx, ops, o.Transfer)
		stored, err := ops.Put(ctx, content, o)
		stop()
		if err != nil {
			return resumable(ctx, ops, o, failedPut{file, err})
		}
		for _, w := range stored.Warnings {
			c.warn("%s", w)
		}
		err = c.print(stored, func(w io.Writer) {
			row(w, "id", stored.ID)
			row(w, "name", stored.Name)
			row(w, "size", size(stored.Size))
			row(w, "stored", fmt.Sprintf("%s in %s of %s on %s", size(stored.StoredBytes),
				count(stored.Shards, "shard"), count(stored.Segments, "segment"), count(stored.Peers, "peer")))
			row(w, "survives", survives(stored.Survives))
		})
		if err == nil {
			c.next("info %s", stored.ID)
		}
		return err
	})
}

// needsPlugin reports whether the program of a plugin wraps keys for a recipient.
func needsPlugin(recipient string) bool {
	to, err := crypt.ParseRecipient(recipient)
	return err == nil && to.Plugin() != ""
}

// planPut says what a put would come to.
func (c *cli) planPut(ctx context.Context, file string, regular bool, o node.PutOptions) error {
	if !regular {
		return errs.WithHint(errs.New(errs.Invalid, "how much %s has is known only when it is read", file), "leave out --dry-run, or name a file")
	}
	return c.withNode(ctx, func(ops api.Operations) error {
		plan, err := ops.Plan(ctx, o)
		if err != nil {
			return failedPut{file, err}
		}
		return c.print(plan, func(w io.Writer) {
			fmt.Fprintf(w, "would store %s of %s, as about %s in %s of %s on %s; it would survive %s\n", size(plan.Size), plain(file), size(plan.StoredBytes),
				count(plan.Shards, "shard"), count(plan.Segments, "segment"), count(plan.Peers, "peer"), survives(plan.Survives))
		})
	})
}

// A failedPut is the error of a put of a file. It says once that it is a put.
type failedPut struct {
	file string
	err  error
}

func (e failedPut) Error() string {
	return "put " + e.file + ": " + strings.TrimPrefix(e.err.Error(), "put: ")
}
func (e failedPut) Unwrap() error { return e.err }

// resumable adds to the error of a put that it can go on, if it can.
func resumable(ctx context.Context, ops api.Operations, o node.PutOptions, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTime)
	defer cancel()
	if o.Source == "" || !over(ctx, ops, o.Transfer) {
		return err
	}
	list, listErr := ops.Transfers(ctx, "")
	if listErr != nil {
		return err
	}
	for _, t := range list.Transfers {
		if t.Kind == node.PutTransfer && t.State == node.Interrupted && t.Name == o.Name {
			return errs.WithHint(err, "type the same again: %s are stored and will not be sent twice", size(t.Sealed))
		}
	}
	return err
}

// over waits for a node to end a transfer, which the one of a service does a
// little after its user has gone, and reports whether it has.
func over(ctx context.Context, ops api.Operations, id string) bool {
	for {
		list, err := ops.Transfers(ctx, id)
		if err != nil || len(list.Transfers) == 0 {
			return err == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(overEvery):
		}
	}
}

func splitTags(s string) []string {
	var tags []string
	for tag := range strings.SplitSeq(s, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// openSource opens a file to be put. Kinds: FileNotFound, Invalid, IO.
func openSource(ctx context.Context, file string) (*source, error) {
	f, err := openFile(ctx, file)
	switch {
	case os.IsNotExist(err):
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "there is no file %s", file), "check the path")
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, errs.New(errs.IO, "%w", err)
	}
	s, err := newSource(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// openFile opens a file. To open a named pipe blocks until somebody writes to
// it; that goes on until the process ends, but is not waited for once ctx has.
func openFile(ctx context.Context, path string) (*os.File, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(path)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
