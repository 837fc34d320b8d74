package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"datamesh"
	"datamesh/internal/api"
)

// A synced is the result of a sync.
type synced struct {
	Dir         string       `json:"dir"`
	Name        string       `json:"name"`
	Files       []syncedFile `json:"files"`
	Stored      int          `json:"stored"`
	Written     int          `json:"written"`
	Deleted     int          `json:"deleted"`
	Removed     int          `json:"removed"`
	Conflicts   int          `json:"conflicts"`
	Planned     int          `json:"planned"`
	Unchanged   int          `json:"unchanged"`
	Failed      int          `json:"failed"`
	Skipped     int          `json:"skipped"`
	Bytes       int64        `json:"bytes"`
	StoredBytes int64        `json:"stored_bytes"`
	Resumed     int64        `json:"resumed,omitempty"`
	Warnings    []string     `json:"warnings,omitempty"`
	DryRun      bool         `json:"dry_run,omitempty"`
}

// A syncedFile is one file, directory or symbolic link of a sync.
type syncedFile struct {
	Name     string            `json:"name"`
	ID       datamesh.ObjectID `json:"id,omitzero"`
	Type     string            `json:"type,omitempty"`
	Size     int64             `json:"size"`
	Action   string            `json:"action,omitempty"`
	Conflict bool              `json:"conflict,omitempty"`
	State    string            `json:"state"`
	Error    *api.Problem      `json:"error,omitempty"`
}

// print prints what came of it.
func (s *syncer) print() error {
	r := s.result()
	return s.c.print(r, func(w io.Writer) { syncedText(w, r) })
}

// result returns what came of it, by name.
func (s *syncer) result() synced {
	s.mu.Lock()
	b := s.batch
	s.mu.Unlock()
	slices.SortFunc(b.Files, func(x, y batchFile) int { return strings.Compare(x.Name, y.Name) })
	r := synced{Dir: s.o.dir, Name: s.o.name, Files: make([]syncedFile, len(b.Files)), Stored: b.Stored, Written: b.Written, Deleted: b.deleted, Removed: b.removed,
		Conflicts: b.conflicts, Planned: b.Planned, Unchanged: b.Unchanged, Failed: b.Failed, Skipped: b.Skipped,
		Bytes: b.Bytes, StoredBytes: b.StoredBytes, Resumed: b.Resumed, Warnings: b.Warnings, DryRun: b.DryRun}
	for i, f := range b.Files {
		r.Files[i] = syncedFile{f.Name, f.ID, f.Type, f.Size, f.action, f.conflict, f.State, f.Error}
	}
	return r
}

func syncedText(w io.Writer, r synced) {
	if r.DryRun {
		fmt.Fprintf(w, "would change %s; %s\n", count(r.Planned, "file"), unchanged(r.Unchanged))
		return
	}
	row(w, "stored", count(r.Stored, "file"))
	for _, part := range []struct {
		label string
		n     int
	}{{"written", r.Written}, {"deleted", r.Deleted}, {"removed", r.Removed}, {"conflicts", r.Conflicts}} {
		if part.n > 0 {
			row(w, part.label, count(part.n, "file"))
		}
	}
	row(w, "unchanged", count(r.Unchanged, "file"))
	if r.Failed > 0 {
		row(w, "failed", count(r.Failed, "file"))
	}
	if r.Skipped > 0 {
		row(w, "left out", count(r.Skipped, "file"))
	}
}
