package store

import (
	"database/sql"
	"maps"
	"slices"

	"datamesh"
	"datamesh/internal/format"
)

// salvage fills the new database at path with what a damaged one still has to
// say. Nothing of it is believed but what proves itself: descriptors, deletions and
// records are signed, the bytes of a row are hashed, and a holder map is a
// claim anyway. Shards that are files are left to reconcile. It returns how
// many rows with shards it has saved. Its errors are those of writing: what
// cannot be read is lost.
func salvage(damaged, path string) (saved int, err error) {
	from, err := openSQLite(damaged, "query_only(1)")
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := openIndex(path)
	if err != nil {
		return 0, err
	}
	s := &salvager{from: from, to: &batch{index: to}}
	s.deletions()
	s.records()
	s.shards()
	s.trash()
	s.holders()
	s.commit()
	if s.to.err != nil {
		to.close()
		return 0, s.to.err
	}
	return s.saved, to.close()
}

type salvager struct {
	from  *sql.DB
	to    *batch
	saved int // shards
	open  int // changes in the transaction
}

// change counts one more change, which is to follow.
func (s *salvager) change() {
	if s.open == maxBatch {
		s.commit()
	}
	if s.open++; s.open == 1 {
		s.to.exec(`BEGIN IMMEDIATE`)
	}
}

func (s *salvager) commit() {
	if s.open > 0 {
		s.to.exec(`COMMIT`)
	}
	s.open = 0
}

func (s *salvager) deletions() {
	s.words("tombstones")
	s.words("undeletions")
}

func (s *salvager) words(table string) {
	s.each(`SELECT deletion FROM `+table+` ORDER BY `, `segment`, `segment DESC`, func(rows *sql.Rows) {
		var word []byte
		if rows.Scan(&word) != nil {
			return
		}
		if del, err := format.DecodeDeletion(word); err == nil {
			s.change()
			s.to.keepWord(del, word)
		}
	})
}

func (s *salvager) records() {
	const order, reverse = `place, device, seq, digest`, `place DESC, device DESC, seq DESC, digest DESC`
	s.each(`SELECT record FROM records ORDER BY `, order, reverse, func(rows *sql.Rows) {
		var record []byte
		if rows.Scan(&record) != nil {
			return
		}
		if r, err := format.DecodeRecord(record); err == nil {
			s.change()
			s.to.keepRecord(format.RecordKey(r), r.Base, record, nil) // again, or more than may be: it is there, or lost
		}
	})
}

func (s *salvager) shards() {
	s.each(`SELECT segment, idx FROM shards ORDER BY `, `segment, idx`, `segment DESC, idx DESC`, func(rows *sql.Rows) {
		if key, err := scanKey(rows); err == nil {
			s.shard(key)
		}
	})
}

// shard saves one shard that is a row, if that is whole.
func (s *salvager) shard(key datamesh.ShardKey) {
	d, descriptor := s.descriptor(key.Segment)
	data := s.payload("shards", key, d)
	if data == nil {
		return
	}
	s.change()
	if s.to.deleted(key.Segment) || s.to.exists(`SELECT 1 FROM shards WHERE segment = ? AND idx = ?`, key.Segment[:], key.Index) {
		return
	}
	s.to.keepDescriptor(key.Segment, descriptor)
	s.to.insertShard(key, int64(len(data)), s.to.insertPayload(data))
	s.saved++
}

// trash saves rows of the trash, which have their descriptors in the words that
// have dropped them.
func (s *salvager) trash() {
	s.each(`SELECT segment, idx FROM trash ORDER BY `, `segment, idx`, `segment DESC, idx DESC`, func(rows *sql.Rows) {
		key, err := scanKey(rows)
		if err != nil || s.to.deletedForEver(key.Segment) {
			return
		}
		word, _ := s.to.wordOn(key.Segment)
		del, err := format.ReadDeletion(word)
		if err != nil {
			return
		}
		data := s.payload("trash", key, del.Descriptor)
		if data == nil || s.to.exists(`SELECT 1 FROM trash WHERE segment = ? AND idx = ?`, key.Segment[:], key.Index) {
			return
		}
		s.change()
		s.to.recoverTrash(key, int64(len(data)), s.to.insertPayload(data))
	})
}

// payload returns the bytes of a row of a table that is a shard of a segment, or
// nil.
func (s *salvager) payload(table string, key datamesh.ShardKey, d *datamesh.Descriptor) (data []byte) {
	err := s.from.QueryRow(`SELECT data FROM `+table+` JOIN payloads ON id = payload WHERE segment = ? AND idx = ?`,
		key.Segment[:], key.Index).Scan(&data)
	if d == nil || err != nil || checkShard(d, key.Index, data) != nil {
		return nil
	}
	return data
}

// holders saves who holds what, of either version of the schema.
func (s *salvager) holders() {
	peers := s.peers()
	s.each(`SELECT segment, holders FROM segments WHERE holders <> x'' ORDER BY `, `segment`, `segment DESC`, func(rows *sql.Rows) {
		var segment, list []byte
		if rows.Scan(&segment, &list) != nil {
			return
		}
		var holdings []Holding // those reported last are the last
		for _, h := range slices.Backward(readHolders(list)) {
			if peer, ok := peers[h.peer]; ok {
				holdings = append(holdings, Holding{h.index, peer})
			}
		}
		s.hold(segment, holdings...)
	})
	s.rowHolders()
}

// rowHolders saves who holds what, of version 1, which has a row for each, in the order
// of the reports also behind damage.
func (s *salvager) rowHolders() {
	const query = `SELECT segment, idx, peer FROM holders ORDER BY `
	type row struct {
		segment []byte
		holding Holding
	}
	each := func(do func(row)) func(*sql.Rows) {
		return func(rows *sql.Rows) {
			var r row
			var peer []byte
			if rows.Scan(&r.segment, &r.holding.Index, &peer) == nil && copy(r.holding.Peer[:], peer) == len(r.holding.Peer) {
				do(r)
			}
		}
	}
	hold := func(r row) { s.hold(r.segment, r.holding) }
	if s.walk(query+`id`, each(hold)) == nil {
		return
	}
	var late []row
	s.walk(query+`id DESC`, each(func(r row) { late = append(late, r) }))
	for _, r := range slices.Backward(late) {
		hold(r)
	}
}

// peers returns who has which number, without those of whom the table and its index
// do not say the same.
func (s *salvager) peers() map[int64]datamesh.PeerID {
	peers, wrong := make(map[int64]datamesh.PeerID), make(map[int64]bool)
	read := func(rows *sql.Rows) {
		var number int64
		var id []byte
		if rows.Scan(&number, &id) != nil || len(id) != len(datamesh.PeerID{}) {
			return
		}
		peer := datamesh.PeerID(id)
		if was, ok := peers[number]; ok && was != peer {
			wrong[number] = true
		}
		peers[number] = peer
	}
	s.each(`SELECT number, peer FROM peers NOT INDEXED ORDER BY `, `number`, `number DESC`, read)
	s.each(`SELECT number, peer FROM peers ORDER BY `, `peer`, `peer DESC`, read)
	maps.DeleteFunc(peers, func(number int64, _ datamesh.PeerID) bool { return wrong[number] })
	return peers
}

// hold saves holders of a segment, the last of them as the one reported last.
func (s *salvager) hold(segment []byte, holdings ...Holding) {
	var id datamesh.SegmentID
	if copy(id[:], segment) != len(id) {
		return
	}
	d, descriptor := s.descriptor(id)
	if d == nil {
		return
	}
	holdings = slices.DeleteFunc(holdings, func(h Holding) bool { return checkShape(d, h.Index, d.ShardLen()) != nil })
	s.change()
	if len(holdings) == 0 || s.to.deleted(id) {
		return
	}
	s.to.keepDescriptor(id, descriptor)
	s.to.hold(id, holdings)
}

// descriptor returns a segment's, and its bytes, or nil.
func (s *salvager) descriptor(segment datamesh.SegmentID) (*datamesh.Descriptor, []byte) {
	var enc []byte
	if s.from.QueryRow(`SELECT descriptor FROM segments WHERE segment = ?`, segment[:]).Scan(&enc) != nil {
		return nil, nil
	}
	d, err := format.DecodeDescriptor(enc)
	if err != nil || d.Segment != segment {
		return nil, nil
	}
	return d, enc
}

// each calls scan for each row of a query, in one order up to where a table is
// damaged, and then in the reverse order down to there.
func (s *salvager) each(query, order, reverse string, scan func(*sql.Rows)) {
	if s.walk(query+order, scan) != nil {
		s.walk(query+reverse, scan)
	}
}

func (s *salvager) walk(query string, scan func(*sql.Rows)) error {
	rows, err := s.from.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for s.to.err == nil && rows.Next() {
		scan(rows)
	}
	return rows.Err()
}
