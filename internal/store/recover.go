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
)

// recover opens the index and makes it and the files agree. An index that is
// damaged is moved aside; a new one is filled from the files.
func (d *Disk) recover() (err error) {
	path, aside := filepath.Join(d.dir, "node.db"), ""
	if d.index, err = openIndex(path); errors.Is(err, errs.Integrity) {
		if aside, err = moveAside(path); err == nil {
			d.index, err = openIndex(path)
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
		d.events.Rebuilt(aside, found)
	}
	return nil
}

// moveAside renames a damaged database and its log, and returns its new path.
func moveAside(path string) (string, error) {
	aside := ""
	for n := 1; ; n++ {
		aside = fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for _, suffix := range []string{"-wal", "-shm", ""} { // the database last: it is the one looked for
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", errs.New(kindOf(err), "store: move the damaged index aside: %w", err)
		}
	}
	return aside, nil
}

// reconcile makes index and files agree, as they may not after a crash: it
// forgets rows that have no file, and indexes files that have no row, unless
// their segment was deleted. It returns how many files had no row.
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
	if err != nil {
		return 0, errs.New(kindOf(err), "store: %w", err)
	}
	var found []*header
	for _, file := range files {
		key, ok := parseFileName(file.Name())
		if _, known := rows[key]; ok && known {
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
	}, `SELECT segment, idx, payload IS NULL FROM shards WHERE segment BETWEEN ? AND ?`, low[:], high[:])
	if err != nil {
		return nil, errs.New(kindOf(err), "store: read the index: %w", err)
	}
	return rows, nil
}

// readShardFile reads the header of the file that should have the shard. Of
// the shard it checks the length; its bytes are checked whenever it is read.
func readShardFile(path string, key datamesh.ShardKey) (*header, error) {
	f, err := os.Open(path)
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
		}
		return nil
	}}
	if err := d.apply([]*change{c}); err != nil {
		return err
	}
	for _, key := range lost {
		if d.events.Lost != nil {
			d.events.Lost(key)
		}
	}
	return nil
}

func (d *Disk) stageFound(b *batch, h *header) {
	if b.deleted(h.key.Segment) {
		b.remove(d.path(h.key))
		return
	}
	b.keepDescriptor(h.key.Segment, format.EncodeDescriptor(h.descriptor))
	b.insertShard(h.key, h.fileSize(), nil)
}
