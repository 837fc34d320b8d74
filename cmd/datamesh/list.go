package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) listCommand() *cobra.Command {
	var (
		o                              node.ListOptions
		deleted, shared, long          bool
		larger, smaller, after, before string
		limit                          uint32
	)
	cmd := &cobra.Command{
		Use:     "list [PATTERN]",
		Aliases: []string{"ls"},
		Short:   "list what you have stored, the newest first",
		Long: `Lists what you have stored: all, a name, all that is below one that ends with a
slash, or what matches a pattern, in which * stands for anything but a slash, **
for directories, too, ? for one character, [a-z] for one of several, and {a,b} for
either. A file that has several names is there under each.`,
		Example:           `  datamesh list 'photos/**/*.jpg' --larger 1M --after 2026-01-01 --sort size`,
		Args:              arity(0, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	flags := cmd.Flags()
	flags.BoolVar(&deleted, "deleted", false, "list what you have deleted, the last first")
	flags.BoolVar(&shared, "shared", false, "list what you share, and with whom, the last first")
	flags.BoolVar(&long, "long", false, "show modes, the times of files and their types, too")
	flags.StringVar(&o.Tag, "tag", "", "only what has the `TAG`")
	flags.StringVar(&o.Type, "type", "", "only what is of the media `TYPE`, such as 'image/*'")
	flags.StringVar(&larger, "larger", "", "only what is larger than `SIZE`, such as 10M")
	flags.StringVar(&smaller, "smaller", "", "only what is smaller than `SIZE`")
	flags.StringVar(&after, "after", "", "only what was stored at `DATE`, such as 2026-01-31 or \"2026-01-31 12:00\", or later")
	flags.StringVar(&before, "before", "", "only what was stored before `DATE`")
	flags.StringVar(&o.Sort, "sort", "date", "`ORDER`: by date, the newest first, by name, or by size, the largest first")
	flags.Uint32Var(&limit, "limit", 0, "`N` to list at most (default all)")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"tag": c.completeTags, "sort": cobra.FixedCompletions([]cobra.Completion{"date", "name", "size"}, cobra.ShellCompDirectiveNoFileComp)})
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if shared {
			if len(args) > 0 || !onlyGlobal(cmd, "shared") {
				return errs.WithHint(errs.New(errs.Invalid, "of what is shared all is listed"), "datamesh list --shared")
			}
			return c.withCatalog(cmd.Context(), func(ops api.Operations) error { return c.listShared(cmd.Context(), ops) })
		}
		if deleted {
			if len(args) > 0 || !onlyGlobal(cmd, "deleted") {
				return errs.WithHint(errs.New(errs.Invalid, "of what is deleted all is listed"), "datamesh list --deleted")
			}
			return c.withCatalog(cmd.Context(), func(ops api.Operations) error { return c.listDeleted(cmd.Context(), ops) })
		}
		if len(args) > 0 {
			o.Pattern = args[0]
		}
		o.Limit = int(limit)
		for flag, x := range map[string]struct {
			text string
			into *int64
		}{"larger": {larger, &o.Larger}, "smaller": {smaller, &o.Smaller}} {
			if *x.into, err = parseBound(x.text); err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--%s: %w", flag, err), "datamesh list --%s 10M", flag)
			}
		}
		for flag, x := range map[string]struct {
			text string
			into *time.Time
		}{"after": {after, &o.After}, "before": {before, &o.Before}} {
			if *x.into, err = parseDate(x.text); err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--%s: %w", flag, err), "datamesh list --%s 2026-01-31", flag)
			}
		}
		return c.withList(cmd.Context(), func(ops api.Operations) error { return c.list(cmd.Context(), ops, o, long) })
	}
	return cmd
}

// onlyGlobal reports whether no flag of the command itself was given but one.
func onlyGlobal(cmd *cobra.Command, but string) bool {
	only := true
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { only = only && (!f.Changed || f.Name == but) })
	return only
}

// parseBound reads a size, or nothing.
func parseBound(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := config.ParseSize(text)
	return int64(n), err
}

// parseDate reads a day or a time, as it is here, or nothing.
func parseDate(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339Nano} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date", text)
}

// list writes what is asked for one by one, however much it is.
func (c *cli) list(ctx context.Context, ops api.Operations, o node.ListOptions, long bool) error {
	if c.json {
		_, err := api.WriteList(ctx, ops, o, output{c.out})
		return err
	}
	out := bufio.NewWriterSize(c.out, 64<<10)
	header := []any{"NAME", "SIZE", "CREATED", "TAGS", "ID"}
	if long {
		header = []any{"NAME", "SIZE", "CREATED", "MODE", "MODIFIED", "TYPE", "TAGS", "ID"}
	}
	table := newStream(out, header...)
	err := ops.List(ctx, o, func(x node.Object) error {
		tags := strings.Join(x.Tags, ",")
		if x.Pinned {
			tags = strings.TrimSpace("[pinned] " + tags)
		}
		if !long {
			return outputError(table.row(shortened(x.Name), size(x.Size), localTime(x.Created), tags, x.ID))
		}
		mode, modified := "", ""
		if x.Mode != 0 {
			mode = (fs.FileMode(x.Mode) & fs.ModePerm).String()
		}
		if !x.ModTime.IsZero() {
			modified = localTime(x.ModTime)
		}
		return outputError(table.row(shortened(x.Name), size(x.Size), localTime(x.Created), mode, modified, x.Type, tags, x.ID))
	})
	if err != nil {
		return errors.Join(err, flushed(out, table.begun()))
	}
	if err := table.flush(); err != nil {
		return outputError(err)
	}
	return outputError(out.Flush())
}

// flushed writes what there is of a list that broke off.
func flushed(out *bufio.Writer, begun bool) error {
	if !begun {
		return nil
	}
	return outputError(out.Flush())
}

func (c *cli) listDeleted(ctx context.Context, ops api.Operations) error {
	list, err := ops.Deleted(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		row(w, "NAME", "SIZE", "DELETED", "UNTIL", "ID")
		for _, o := range list.Objects {
			until := "gone for good"
			if !o.Until.IsZero() {
				until = localTime(o.Until)
			}
			if !o.Done {
				until = "under way"
			}
			row(w, shortened(o.Name), size(o.Size), localTime(o.Deleted), until, o.ID)
		}
	})
}

func (c *cli) listShared(ctx context.Context, ops api.Operations) error {
	list, err := ops.Shares(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		row(w, "NAME", "SIZE", "WITH", "SHARED", "UNTIL", "ID", "OBJECT")
		for _, s := range list.Shares {
			until, with := "", s.Contact
			switch {
			case s.Withdrawn:
				until = "taken back, under way"
			case !s.Until.IsZero():
				until = localTime(s.Until)
			}
			switch {
			case s.Address == "":
				with = "a link"
			case with == "":
				with = s.Address
			}
			row(w, shortened(s.Name), size(s.Size), with, localTime(s.Created), until, s.ID, s.Object)
		}
	})
}
