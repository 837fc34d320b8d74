package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/backup"
	"datamesh/internal/errs"
	"datamesh/internal/tree"
)

func (c *cli) restoreCommand() *cobra.Command {
	var (
		version       string
		verify, force bool
	)
	cmd := &cobra.Command{
		Use:   "restore NAME|ID [DIR]",
		Short: "bring back a directory from a backup",
		Long: `Brings back what a snapshot has, into the directory DIR: files with their
permissions and times, directories and symbolic links. Each file has its name
only when it is whole and checked. Files that are there already, by their size
and time, are left as they are, so that a restore that was interrupted goes on;
others that are in the way are not overwritten. It ends with 3 when some files
could not be brought back.

With --verify all that the snapshot needs is read and checked, and nothing is
written: also the shards that no reader needs as long as others are whole, from each
peer that holds one. It ends with 7 when something is lost, and with 9 when something was
damaged or missing, and can be rebuilt.`,
		Args:              arity(1, 2),
		ValidArgsFunction: positional(c.completeObjects, completeDirs),
	}
	flags := cmd.Flags()
	flags.StringVar(&version, "version", "", "`ID|N|DATE` of the snapshot: N counts from the newest, which is 1; of a DATE it is the last before (default the newest)")
	flags.BoolVar(&verify, "verify", false, "read and check everything, and write nothing")
	flags.BoolVar(&force, "force", false, "overwrite what is in the way")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := parseVersion(version)
		if err != nil {
			return err
		}
		if verify == (len(args) == 2) {
			return errs.WithHint(errs.New(errs.Invalid, "restore takes a directory to write to, or --verify"), "datamesh restore %s DIR", quoteWord(args[0]))
		}
		return c.withBackups(cmd.Context(), func(a *backup.Archive) error {
			s, err := a.Find(cmd.Context(), args[0], v)
			if err == nil && verify {
				err = c.verify(cmd.Context(), a, s)
			} else if err == nil {
				err = c.restore(cmd.Context(), a, s, args[1], force)
			}
			if err != nil {
				return fmt.Errorf("restore %s: %w", args[0], err)
			}
			return nil
		})
	}
	return cmd
}

// parseVersion reads which snapshot is meant. Kind: Invalid.
func parseVersion(text string) (v backup.Version, err error) {
	if text == "" {
		return v, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return backup.Version{Number: n}, nil
	}
	if v.ID, err = datamesh.ParseObjectID(text); err == nil {
		return v, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return backup.Version{Until: day.AddDate(0, 0, 1).Add(-1)}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return backup.Version{Until: t}, nil
		}
	}
	return v, errs.WithHint(errs.New(errs.Invalid, "--version: %q is no id, no number from 1 up and no date", text), `such as --version 2, or --version %s; see "datamesh backups"`, time.Now().Format(time.DateOnly))
}

func (c *cli) restore(ctx context.Context, a *backup.Archive, s backup.Snapshot, dir string, force bool) error {
	w, err := tree.Create(dir)
	if err != nil {
		return err
	}
	w.Force = force
	stop := c.tell(ctx, c.follows(a, "restore"))
	r, err := a.Restore(ctx, s, w)
	stop()
	if err != nil {
		return err
	}
	r.Out = dir
	if err := c.printRestored(r, "restored"); err != nil {
		return err
	}
	if r.Failed > 0 {
		return errs.WithHint(errs.New(errs.Partial, "%s could not be brought back", count(r.Failed, "file")), "see why above; typed again it goes on with those")
	}
	return nil
}

func (c *cli) verify(ctx context.Context, a *backup.Archive, s backup.Snapshot) error {
	stop := c.tell(ctx, c.follows(a, "verify"))
	r, err := a.Restore(ctx, s, nil)
	stop()
	switch {
	case errors.Is(err, errs.Deleted) || errors.Is(err, errs.FileNotFound):
		return errs.New(errs.Integrity, "the snapshot is lost: %w", err)
	case err != nil:
		return err
	}
	if err := c.printRestored(r, "verified"); err != nil {
		return err
	}
	switch {
	case r.Failed > 0:
		return errs.WithHint(errs.New(errs.Integrity, "%s cannot be read now", count(r.Failed, "file")), `see who answers with "datamesh peers"; what is read from the disk again is put anew: datamesh backup DIR --force --name NAME`)
	case r.Checked != nil && len(r.Checked.Unsound) > 0:
		damaged, missing := 0, 0
		for _, x := range r.Checked.Unsound {
			c.warn("%s: %s damaged, %d missing", x.ID, count(x.Damaged, "shard"), x.Missing)
			damaged, missing = damaged+x.Damaged, missing+x.Missing
		}
		return errs.WithHint(errs.New(errs.Degraded, "of %s %d are damaged and %d missing; all files are whole", count(r.Checked.Shards, "shard"), damaged, missing),
			"have the nodes that had them look at their disks, and mend what is missing: datamesh scrub, datamesh repair")
	case len(r.Bad) > 0:
		return errs.WithHint(errs.New(errs.Degraded, "%s had to be rebuilt; all files are whole", count(len(r.Bad), "shard")), "have the nodes that had them look at their disks: datamesh scrub")
	}
	return nil
}

func (c *cli) printRestored(r *backup.Restored, what string) error {
	c.warnFailures(r.Failed, r.Failures)
	was := "rebuilt"
	if r.Checked != nil {
		was = "damaged"
	}
	for _, b := range r.Bad {
		c.warn("shard %d of %s was %s: peer %s: %s", b.Index, b.Segment, was, b.Peer, b.Reason)
	}
	return c.print(r, func(w io.Writer) {
		row(w, "id", r.ID)
		row(w, "name", r.Name)
		row(w, what, treeText(r.Files, r.Dirs, r.Links, r.Bytes))
		if r.Out != "" {
			row(w, "out", r.Out)
		}
	})
}
