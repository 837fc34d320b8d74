package store

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"datamesh"
	"datamesh/internal/errs"
)

// maxHolders is how many peers the registry keeps for one shard.
const maxHolders = 4

// A holder of a shard, as its segment's row has it: the index in one byte, and the
// numbers as uvarints.
type holder struct {
	index  int
	peer   int64 // its number in the table peers
	proven int64 // when it last proved its shard, in Unix seconds; 0: never
}

// holders are those of a segment by index, those reported last first.
type holders []holder

// maxHolder is what one takes at most.
const maxHolder = 1 + 2*binary.MaxVarintLen64

// checksumLen is the length of the checksum in front of holders. Without it a number
// that has rotted would be another peer, who says nothing of that shard for ever.
const checksumLen = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeHolders(list holders) []byte {
	if len(list) == 0 {
		return []byte{} // and not nil, which would be NULL
	}
	b := make([]byte, checksumLen, checksumLen+8*len(list))
	for _, h := range list {
		b = append(b, byte(h.index))
		b = binary.AppendUvarint(b, uint64(h.peer))
		b = binary.AppendUvarint(b, uint64(h.proven))
	}
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[checksumLen:], castagnoli))
	return b
}

// decodeHolders reads holders. Kind: Serialization.
func decodeHolders(b []byte) (list holders, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) <= checksumLen || len(b) > checksumLen+datamesh.MaxShards*maxHolders*maxHolder {
		return nil, errs.New(errs.Serialization, "holders of %d bytes", len(b))
	}
	sum := binary.BigEndian.Uint32(b)
	if b = b[checksumLen:]; crc32.Checksum(b, castagnoli) != sum {
		return nil, errs.New(errs.Serialization, "holders of another checksum")
	}
	for len(b) > 0 {
		h := holder{index: int(b[0])}
		b = b[1:]
		for _, field := range []*int64{&h.peer, &h.proven} {
			v, n := binary.Uvarint(b)
			if n <= 0 || int64(v) < 0 {
				return nil, errs.New(errs.Serialization, "a holder whose numbers are wrong")
			}
			*field, b = int64(v), b[n:]
		}
		if n := len(list); n > 0 && list[n-1].index > h.index || n >= maxHolders && list[n-maxHolders].index == h.index {
			return nil, errs.New(errs.Serialization, "a holder that is not in its place")
		}
		list = append(list, h)
	}
	return list, nil
}

// readHolders is decodeHolders of what was stored: of what has rotted there is
// nobody, until the holders say again what they hold.
func readHolders(b []byte) holders {
	list, _ := decodeHolders(b)
	return list
}

// find returns where a holder is, or -1.
func (l holders) find(index int, peer int64) int {
	return slices.IndexFunc(l, func(h holder) bool { return h.index == index && h.peer == peer })
}

// report returns the list with a holder as the one reported last. One that was
// proven stays so; if there are too many the one reported first goes.
func (l holders) report(index int, peer int64) holders {
	h := holder{index: index, peer: peer}
	if i := l.find(index, peer); i >= 0 {
		h = l[i]
	}
	now := l.without(index, peer)
	first, _ := slices.BinarySearchFunc(now, index, func(h holder, index int) int { return h.index - index })
	now = slices.Insert(now, first, h)
	if last := first + maxHolders; last < len(now) && now[last].index == index {
		now = slices.Delete(now, last, last+1)
	}
	return now
}

// without returns a copy of the list that has not that holder.
func (l holders) without(index int, peer int64) holders {
	return slices.DeleteFunc(slices.Clone(l), func(h holder) bool { return h.index == index && h.peer == peer })
}

// holders returns those of a segment. If they have rotted nobody holds it from then
// on, so that its row can go when nothing else is known of it.
func (b *batch) holders(segment datamesh.SegmentID) (list holders) {
	var rotten error
	b.query(func(rows *sql.Rows) error {
		var value sql.RawBytes
		err := rows.Scan(&value)
		list, rotten = decodeHolders(value)
		return err
	}, `SELECT holders FROM segments WHERE segment = ?`, segment[:])
	if rotten != nil { // there are far fewer peers than rows
		b.exec(`UPDATE segments SET holders = x'' WHERE segment = ?`, segment[:])
		b.exec(`DELETE FROM holdings WHERE peer IN (SELECT number FROM peers) AND segment = ?`, segment[:])
		b.exec(`DELETE FROM peers WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE peer = number)`)
	}
	return list
}

// setHolders puts others in the place of the holders that a segment had: in its
// row, and in what peers hold.
func (b *batch) setHolders(segment datamesh.SegmentID, was, now holders) {
	if slices.Equal(was, now) {
		return
	}
	b.exec(`UPDATE segments SET holders = ? WHERE segment = ?`, encodeHolders(now), segment[:])
	for _, h := range now {
		if was.find(h.index, h.peer) < 0 {
			b.exec(`INSERT OR IGNORE INTO holdings (peer, segment, idx) VALUES (?, ?, ?)`, h.peer, segment[:], h.index)
		}
	}
	for _, h := range was {
		if now.find(h.index, h.peer) < 0 {
			b.unhold(segment, h.index, h.peer)
		}
	}
}

// unhold takes a shard out of what a peer holds.
func (b *batch) unhold(segment datamesh.SegmentID, index int, peer int64) {
	b.exec(`DELETE FROM holdings WHERE peer = ? AND segment = ? AND idx = ?`, peer, segment[:], index)
	b.forgetPeer(peer)
}

// forgetHolders forgets all holders of a segment.
func (b *batch) forgetHolders(segment datamesh.SegmentID) {
	b.setHolders(segment, b.holders(segment), nil)
}

// number returns the number of a peer, or 0 if it has none, as who holds nothing.
func (b *batch) number(peer datamesh.PeerID) (number int64) {
	b.query(func(rows *sql.Rows) error { return rows.Scan(&number) }, `SELECT number FROM peers WHERE peer = ?`, peer[:])
	return number
}

// numbered returns the number of a peer, which is given one if it has none.
func (b *batch) numbered(peer datamesh.PeerID) int64 {
	number := b.number(peer)
	if number == 0 {
		if result := b.exec(`INSERT INTO peers (peer) VALUES (?)`, peer[:]); b.err == nil {
			number, _ = result.LastInsertId() // SQLite's has no error
		}
	}
	return number
}

// forgetPeer forgets a peer that holds nothing, so that no more are kept than hold
// something.
func (b *batch) forgetPeer(number int64) {
	b.exec(`DELETE FROM peers WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM holdings WHERE peer = ?1)`, number)
}

// maxPeers is how many peers an index has in memory at most.
const maxPeers = 1 << 14

// peer returns the peer that has a number, or false if it holds nothing any more, or
// its row and the index of that, which has rotted, do not say the same. No number is
// ever given to another.
func (x *index) peer(number int64) (peer datamesh.PeerID, known bool, err error) {
	x.mu.Lock()
	peer, known = x.peers[number]
	x.mu.Unlock()
	if known {
		return peer, true, nil
	}
	var id []byte
	err = x.row(`SELECT peer FROM peers p WHERE number = ? AND number = (SELECT number FROM peers WHERE peer = p.peer)`, []any{number}, &id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(id) != len(peer) {
		return peer, false, nil
	}
	if err != nil {
		return peer, false, err
	}
	copy(peer[:], id)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.peers == nil || len(x.peers) >= maxPeers {
		x.peers = make(map[int64]datamesh.PeerID)
	}
	x.peers[number] = peer
	return peer, true, nil
}

// holdings returns who the holders of a segment are.
func (x *index) holdings(list holders) (holdings []Holding, err error) {
	for _, h := range list {
		peer, known, err := x.peer(h.peer)
		if err != nil {
			return nil, err
		}
		if known {
			holdings = append(holdings, Holding{h.index, peer})
		}
	}
	return holdings, nil
}
