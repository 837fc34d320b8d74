package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/backup"
)

func (c *cli) backupsCommand() *cobra.Command {
	var sweep bool
	cmd := &cobra.Command{
		Use:   "backups [NAME]",
		Short: "list the snapshots of your backups, the newest first",
		Long: `Lists the snapshots of a backup, or of all, of all your devices: the newest of a
name is version 1. What of the packs is not used is told as the most that it can
be: a pack stays as long as a snapshot needs any of it.`,
		Args:              arity(0, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	cmd.Flags().BoolVar(&sweep, "sweep", false, "first delete the packs that no snapshot has needed for a day, as each backup does")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		return c.withBackups(cmd.Context(), func(a *backup.Archive) error {
			var swept *backup.Sweep
			if sweep {
				var err error
				if swept, err = a.Sweep(cmd.Context()); err != nil {
					return fmt.Errorf("backups: %w", err)
				}
				if swept.Why != "" {
					c.warn("nothing was deleted: %s", swept.Why)
				}
			}
			list, err := a.List(cmd.Context(), name)
			if err != nil {
				return fmt.Errorf("backups: %w", err)
			}
			list.Swept = swept
			if !list.Complete {
				c.warn("not all of your devices could be heard: there may be more")
			}
			return c.print(list, func(w io.Writer) { backupsText(w, list) })
		})
	}
	return cmd
}

func backupsText(w io.Writer, list *backup.List) {
	row(w, "NAME", "VERSION", "CREATED", "FILES", "SIZE", "NEW", "ID")
	for _, s := range list.Snapshots {
		if !s.Known {
			row(w, shortened(s.Name), s.Version, localTime(s.Created), "?", "?", "?", s.ID)
			continue
		}
		row(w, shortened(s.Name), s.Version, localTime(s.Created), s.Files, size(s.Bytes), size(s.NewBytes), s.ID)
	}
	if list.Packs > 0 {
		fmt.Fprintf(w, "%s in %s, of which at most %s are not used\n", size(list.PackBytes), count(list.Packs, "pack"), size(list.Unused))
	}
	if s := list.Swept; s != nil {
		fmt.Fprintf(w, "%s of %s deleted, %d more are not needed and go later\n", count(s.Packs, "pack"), size(s.Bytes), s.Waiting)
	}
}
