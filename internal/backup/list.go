package backup

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A Snapshot is a version of a backup.
type Snapshot struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Version  int               `json:"version"` // 1: the newest of its name
	Created  time.Time         `json:"created"`
	Files    int64             `json:"files"`
	Dirs     int64             `json:"dirs"`
	Links    int64             `json:"links"`
	Bytes    int64             `json:"bytes"`     // of all files
	NewBytes int64             `json:"new_bytes"` // of the packs that were made for it
	Source   string            `json:"source"`
	Host     string            `json:"host"`
	Known    bool              `json:"known"` // false: it could not be read, and the figures are 0
}

// A List is what an owner has of backups.
type List struct {
	Snapshots []Snapshot `json:"snapshots"`  // the newest first
	Packs     int        `json:"packs"`      // of all backups
	PackBytes int64      `json:"pack_bytes"` // of content that they have
	Unused    int64      `json:"unused"`     // of that, which no snapshot needs, at most
	Complete  bool       `json:"complete"`   // all devices were heard
	Swept     *Sweep     `json:"swept,omitempty"`
}

// List returns the listed snapshots of a name, or, for "", all.
func (a *Archive) List(ctx context.Context, name string) (*List, error) {
	k, err := a.learn(ctx)
	if err != nil {
		return nil, err
	}
	list := &List{Snapshots: []Snapshot{}, Complete: k.Complete}
	versions := map[string]int{}
	for _, b := range k.Snapshots {
		if b.Deleted {
			continue
		}
		versions[b.Name]++
		if name != "" && b.Name != name {
			continue
		}
		s := Snapshot{ID: b.ID, Name: b.Name, Version: versions[b.Name], Created: b.Created}
		s.Known, err = a.index.row(ctx, []any{&s.Files, &s.Dirs, &s.Links, &s.Bytes, &s.NewBytes, &s.Source, &s.Host},
			`SELECT files, dirs, links, bytes, new, source, host FROM snapshot WHERE id = ?`, b.ID[:])
		if err != nil {
			return nil, err
		}
		list.Snapshots = append(list.Snapshots, s)
	}
	err = a.index.each(ctx, func(rows *sql.Rows) error {
		var size, used int64
		err := rows.Scan(&size, &used)
		list.Packs++
		list.PackBytes += size
		list.Unused += max(size-used, 0)
		return err
	}, `SELECT size, coalesce((SELECT max(needs.bytes) FROM needs JOIN snapshot ON snapshot.n = needs.snapshot WHERE needs.pack = pack.n AND snapshot.state = 1), 0)
		FROM pack WHERE listed = 1`)
	return list, err
}

// Find returns the snapshot of a name, or of an id: the newest, or for a version
// that is a number the one that has it, counted from the newest as 1; for one
// that is a time the last that was made before. If not all devices were heard it
// is that of those that are known, which is noted. Kinds: FileNotFound, Invalid.
func (a *Archive) Find(ctx context.Context, name string, version Version) (Snapshot, error) {
	all, err := a.mesh.BackupObjects(ctx, true)
	if err != nil {
		return Snapshot{}, err
	}
	id, notID := datamesh.ParseObjectID(name)
	var list []Snapshot
	for _, b := range all.Snapshots {
		if !b.Deleted && (notID == nil && b.ID == id || notID != nil && b.Name == name) {
			list = append(list, Snapshot{ID: b.ID, Name: b.Name, Version: len(list) + 1, Created: b.Created})
		}
	}
	if len(list) == 0 {
		return Snapshot{}, errs.WithHint(errs.New(errs.FileNotFound, "there is no backup %s", name), `see what there is with "datamesh backups"`)
	}
	i := slices.IndexFunc(list, version.is)
	if i < 0 {
		return Snapshot{}, errs.WithHint(errs.New(errs.FileNotFound, "the backup %s has no such version", name), `see which it has with "datamesh backups"`)
	}
	if !all.Complete && notID != nil && version.ID == (datamesh.ObjectID{}) {
		a.Events.note("not all of your devices could be heard: there may be a later snapshot than that of " + list[i].Created.Local().Format(time.DateTime))
	}
	return list[i], nil
}

// A Version is one of the snapshots of a name. The zero Version is the newest.
type Version struct {
	ID     datamesh.ObjectID // or zero
	Number int               // from 1 on, the newest; or 0
	Until  time.Time         // of its making; or zero
}

func (v Version) is(s Snapshot) bool {
	switch {
	case v.ID != datamesh.ObjectID{}:
		return s.ID == v.ID
	case v.Number > 0:
		return s.Version == v.Number
	case !v.Until.IsZero():
		return !s.Created.After(v.Until)
	}
	return true
}
