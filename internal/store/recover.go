package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/step"
)

// recover opens the index and makes it and the files agree. One that is
// damaged is moved aside; a new one has what could be saved of it, and all
// files.
func (d *Disk) recover() (err error) {
	path, aside, rows := filepath.Join(d.dir, "node.db"), "", 0
	if err := finishRebuild(path); err != nil {
		return err
	}
	if d.index, err = openRoomy(path); errors.Is(err, errs.Integrity) {
		if aside, rows, err = rebuild(path); err == nil {
			d.index, err = openRoomy(path)
		}
	}
	if err != nil {
		return err
	}
	found, err := d.reconcile()
	if err != nil {
		return err
	}
	if rebuilt := aside != "" || d.index.fresh && found > 0; rebuilt && d.events.Rebuilt != nil {
		d.events.Rebuilt(aside, found, rows)
	}
	return nil
}

// openRoomy opens the index and has it claim room. Kinds: those of openIndex.
func openRoomy(path string) (*index, error) {
	x, err := openIndex(path)
	if err != nil {
		return nil, err
	}
	if err := x.claimRoom(); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// rebuild puts a new database in the place of a damaged one, which it moves
// aside. It returns the path of the damaged one, and how many rows with shards
// are in the new one. Until the damaged one is moved it can begin again; from
// then on finishRebuild ends what it began.
func rebuild(path string) (aside string, rows int, err error) {
	removeDB(rebuiltPath(path)) // one that was cut off
	if rows, err = salvage(path, rebuiltPath(path)); err != nil {
		return "", 0, err
	}
	step.At("store: rebuild: what was saved is written")
	for n := 1; ; n++ {
		aside = fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} { // the database first: without it the new one is whole
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", 0, errs.New(kindOf(err), "store: move the damaged index aside: %w", err)
		}
		if err := syncDir(filepath.Dir(path)); err != nil {
			return "", 0, errs.New(kindOf(err), "store: sync: %w", err)
		}
		step.At("store: rebuild: the damaged index is moved aside")
	}
	return aside, rows, finishRebuild(path)
}

func rebuiltPath(path string) string { return path + ".rebuilt" }

// finishRebuild puts a rebuilt database in its place when the damaged one is
// no longer there. A log of that must be gone before.
func finishRebuild(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Lstat(rebuiltPath(path)); err != nil {
		return nil // there was no rebuild
	}
	removeDB(path)
	os.Remove(suspectPath(path)) // the new one is not
	err := syncDir(filepath.Dir(path))
	step.At("store: rebuild: the log of the damaged index is gone")
	if err == nil {
		err = os.Rename(rebuiltPath(path), path)
	}
	step.At("store: rebuild: the new index has its name")
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return errs.New(kindOf(err), "store: put the rebuilt index in its place: %w", err)
	}
	return nil
}

// removeDB removes a database with its log.
func removeDB(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(path + suffix)
	}
}

// reconcile makes index and files agree, as they may not after a crash: it
// forgets rows that have no file, and indexes files that have no row: as trash
// when their segment was deleted, unless it was for ever. It returns how many
// files had no row.
func (d *Disk) reconcile() (found int, err error) {
	for first := range 256 {
		n, err := d.reconcileFolder(byte(first))
		if err != nil {
			return found, err
		}
		found += n
	}
	return found, nil
}

func (d *Disk) reconcileFolder(first byte) (int, error) {
	rows, err := d.rowsOf(first)
	if err != nil {
		return 0, err
	}
	files, err := os.ReadDir(d.folder(first))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, errs.New(kindOf(err), "store: %w", err)
	}
	var found []*header
	for _, file := range files {
		key, ok := parseFileName(file.Name())
		if _, known := rows[key]; ok && known && file.Type().IsRegular() {
			delete(rows, key)
			continue
		}
		path := filepath.Join(d.folder(first), file.Name())
		h, err := readShardFile(path, key)
		if err != nil {
			d.strange(path, err)
			continue
		}
		found = append(found, h)
	}
	var lost []datamesh.ShardKey
	for key, inFile := range rows {
		if inFile {
			lost = append(lost, key)
		}
	}
	return len(found), d.settle(found, lost)
}

func (d *Disk) strange(path string, err error) {
	if d.events.Strange != nil {
		d.events.Strange(path, err)
	}
}

// rowsOf returns the shards whose segment begins with that byte, and whether
// each is a file.
func (d *Disk) rowsOf(first byte) (map[datamesh.ShardKey]bool, error) {
	var low, high datamesh.SegmentID
	copy(high[:], bytes.Repeat([]byte{0xff}, len(high)))
	low[0], high[0] = first, first
	rows := make(map[datamesh.ShardKey]bool)
	err := d.index.rows(func(r *sql.Rows) error {
		var inFile bool
		key, err := scanKey(r, &inFile)
		rows[key] = inFile
		return err
	}, `SELECT segment, idx, payload IS NULL FROM shards WHERE segment BETWEEN ?1 AND ?2
		UNION ALL SELECT segment, idx, payload IS NULL FROM trash WHERE segment BETWEEN ?1 AND ?2`, low[:], high[:])
	if err != nil {
		return nil, errs.New(kindOf(err), "store: read the index: %w", err)
	}
	return rows, nil
}

// readShardFile reads the header of the file that should have the shard. Of
// the shard it checks the length; its bytes are checked whenever it is read.
func readShardFile(path string, key datamesh.ShardKey) (*header, error) {
	f, err := openRegular(path)
	if errors.Is(err, errs.Integrity) {
		return nil, err
	}
	if err != nil {
		return nil, errs.New(kindOf(err), "store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, errs.New(kindOf(err), "store: %w", err)
	}
	h, err := readHeader(f)
	switch {
	case err != nil:
		return nil, err
	case h.key != key:
		return nil, errs.New(errs.Integrity, "this is shard %s", name(h.key))
	case info.Size() != h.fileSize():
		return nil, errs.New(errs.Integrity, "%d bytes instead of %d", info.Size(), h.fileSize())
	}
	return h, nil
}

// settle enters the shards of files that were found and takes out those that
// were lost.
func (d *Disk) settle(found []*header, lost []datamesh.ShardKey) error {
	if len(found)+len(lost) == 0 {
		return nil
	}
	c := &change{stage: func(b *batch) error {
		for _, h := range found {
			d.stageFound(b, h)
		}
		for _, key := range lost {
			d.stageRemove(b, &removal{}, key.Segment, key.Index, key.Index+1)
			d.stagePurge(b, &removal{}, `segment = ? AND idx = ?`, key.Segment[:], key.Index)
		}
		return nil
	}}
	if err := d.apply([]*change{c}); err != nil {
		return err
	}
	step.At("store: open: a folder and the index agree")
	for _, key := range lost {
		if d.events.Lost != nil {
			d.events.Lost(key)
		}
	}
	return nil
}

func (d *Disk) stageFound(b *batch, h *header) {
	switch {
	case b.deletedForEver(h.key.Segment):
		b.remove(d.path(h.key))
		return
	case b.deleted(h.key.Segment):
		b.recoverTrash(h.key, h.fileSize(), nil)
		return
	}
	b.keepDescriptor(h.key.Segment, format.EncodeDescriptor(h.descriptor))
	b.insertShard(h.key, h.fileSize(), nil)
}
