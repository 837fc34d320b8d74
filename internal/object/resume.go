package object

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"datamesh"
	"datamesh/internal/compress"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/placement"
)

// A Source stands for content that can be read again, byte for byte: a put of
// the same source as one that was interrupted goes on where that stopped. The
// zero Source stands for content that comes once. Different content should
// have another: a put that goes on with what is not its content fails.
type Source [32]byte

// sourceContext separates what a journal knows a source by: the same content
// cut in another way is another.
const sourceContext = "datamesh v1 source of a put"

// journalSource returns what the journal knows the source of a put by, which
// cuts its content into pieces of length bytes.
func (p *put) journalSource(length int) Source {
	if p.opt.Source == (Source{}) || p.opt.Stored == nil {
		return Source{}
	}
	var cut []byte
	for _, n := range []int{p.opt.K, p.opt.M, length} {
		cut = binary.BigEndian.AppendUint32(cut, uint32(n))
	}
	return hash.Derive(sourceContext, p.opt.Source[:], cut)
}

func (s Source) id() string { return hex.EncodeToString(s[:8]) }

// kept is a finished segment of a put that has not ended.
type kept struct {
	source Source
	place  int    // its number in the content
	sealed []byte // the reference to it, in a sealed manifest
	at     int64  // when it was finished, in Unix seconds; 0: it is forgotten
}

// keptOf returns what a record says of a finished segment, or nil.
func keptOf(r *record) *kept {
	if len(r.Source) != len(Source{}) || r.Place < 0 {
		return nil
	}
	return &kept{Source(r.Source), r.Place, r.Kept, r.Time}
}

func keptRecord(put uint64, id datamesh.SegmentID, k *kept) record {
	return record{Put: put, Segment: id, Source: k.source[:], Place: k.place, Kept: k.sealed, Time: k.at}
}

// resumable reports whether a put of the same source can use some of what
// was left behind.
func (j *Journal) resumable(what map[datamesh.SegmentID]*leftover) bool {
	for _, l := range what {
		if j.usable(l) {
			return true
		}
	}
	return false
}

// usable reports whether a segment can be used again. What cannot may have
// been deleted by some of its holders.
func (j *Journal) usable(l *leftover) bool {
	return l.kept != nil && l.kept.at > time.Now().Add(-j.resume).Unix()
}

// keep records that a segment is stored and can be used again. If that is
// lost in a crash, so is the chance, and no more.
func (e *entry) keep(source Source, place int, m *format.Manifest, to crypt.Recipient) error {
	sealed, err := format.SealManifest(m, []crypt.Recipient{to})
	if err != nil {
		return err
	}
	k := &kept{source, place, sealed, time.Now().Unix()}
	id := m.Segments[0].ID
	e.mu.Lock()
	e.what[id].kept = k
	e.mu.Unlock()
	_, err = e.f.write(keptRecord(e.put, id, k))
	return err
}

// A reused segment is one of an interrupted put that a new one takes over.
type reused struct {
	ref     format.SegmentRef
	sum     string // what its content is known by
	holders [][]datamesh.PeerID
	old     *leftover
}

// resume takes over what interrupted puts of the same source have finished,
// by its place in the content. What no longer survives enough is left to the
// sweep.
func (p *put) resume(ctx context.Context) (map[int]*reused, error) {
	found := map[int]*reused{}
	if p.source == (Source{}) {
		return found, nil
	}
	return found, p.o.journal.each(ctx, p.opt.Stored, func(what map[datamesh.SegmentID]*leftover, give func([]datamesh.SegmentID) error) error {
		var ids []datamesh.SegmentID
		var adopted []*reused
		for _, u := range p.usable(ctx, what) {
			if place := u.old.kept.place; found[place] == nil {
				found[place] = u
				ids, adopted = append(ids, u.ref.ID), append(adopted, u)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		if err := give(ids); err != nil {
			return err
		}
		return p.entry.adopt(adopted)
	})
}

func all(*leftover) bool { return true }

// forget has those segments of the put that match not used again. That must be
// durable before any is deleted: what some holders have deleted is not to be
// taken over. Kinds: IO, Full.
func (e *entry) forget(matches func(*leftover) bool) error {
	e.mu.Lock()
	var forgotten []record
	for id, l := range e.what {
		if l.kept != nil && matches(l) {
			l.kept = nil
			forgotten = append(forgotten, record{Put: e.put, Segment: id, Kept: []byte{0}}) // of no source
		}
	}
	e.mu.Unlock()
	if len(forgotten) == 0 {
		return nil
	}
	return e.f.record(forgotten...)
}

// usable returns the finished segments of this source that can be read with
// the user's keys and whose holders, asked now, are enough.
func (p *put) usable(ctx context.Context, what map[datamesh.SegmentID]*leftover) (all []*reused) {
	keys := map[datamesh.PeerID][]datamesh.ShardKey{}
	for id, l := range what {
		if !p.o.journal.usable(l) || l.kept.source != p.source {
			continue
		}
		m, err := format.OpenManifest(l.kept.sealed, p.keys.Identities)
		if err != nil || len(m.Segments) != 1 || m.Segments[0].ID != id || len(m.Tags) != 1 {
			continue
		}
		switch tag := m.Tags[0]; {
		case m.Segments[0].Codec != 0 && p.opt.Compress == compress.Off: // how long it is tells of the content
			continue
		case tag == sealedSum && m.Segments[0].Codec == 0:
		case strings.HasPrefix(tag, sumPrefix):
		default:
			continue
		}
		u := &reused{ref: m.Segments[0], sum: m.Tags[0], old: l, holders: make([][]datamesh.PeerID, len(l.deletion.Descriptor.Shards))}
		for index, at := range u.ref.Hints {
			if int64(at) < int64(len(m.Peers)) && index < len(u.holders) {
				u.holders[index] = []datamesh.PeerID{m.Peers[at]}
				keys[m.Peers[at]] = append(keys[m.Peers[at]], datamesh.ShardKey{Segment: id, Index: index})
			}
		}
		all = append(all, u)
	}
	live := askPeers(ctx, p.o.net, keys)
	return slices.DeleteFunc(all, func(u *reused) bool {
		d := u.old.deletion.Descriptor
		for index, who := range u.holders {
			u.holders[index] = slices.DeleteFunc(who, func(peer datamesh.PeerID) bool {
				return !live[held{peer, datamesh.ShardKey{Segment: d.Segment, Index: index}}]
			})
		}
		return placement.Survives(u.holders, d.K) < p.bar(p.o.net.View(), d)
	})
}

// adopt records, durably, that segments of an interrupted put belong to this
// one.
func (e *entry) adopt(list []*reused) error {
	var all []record
	e.mu.Lock()
	for _, u := range list {
		l := &leftover{deletion: u.old.deletion, peers: slices.Clone(u.old.peers), kept: u.old.kept}
		e.what[u.ref.ID] = l
		all = append(all, e.sending(l.deletion, l.peers), keptRecord(e.put, u.ref.ID, l.kept))
	}
	e.mu.Unlock()
	return e.f.record(all...)
}

// An Interrupted put is one that a put of the same source would resume.
type Interrupted struct {
	ID    string // of the source
	Name  string
	Bytes int64     // of content that are stored
	At    time.Time // when the last of them were
}

// Interrupted lists the puts that can be resumed, as far as the identities
// open what they have left, the oldest first.
func (j *Journal) Interrupted(ctx context.Context, ids []crypt.Identity, stored Stored) (list []Interrupted, err error) {
	type piece struct {
		source Source
		place  int
	}
	bySource, counted := map[Source]*Interrupted{}, map[piece]bool{} // several puts may have stored the same
	err = j.each(ctx, stored, func(what map[datamesh.SegmentID]*leftover, _ func([]datamesh.SegmentID) error) error {
		if !j.resumable(what) {
			return nil
		}
		for _, l := range what {
			if l.kept == nil {
				continue
			}
			m, err := format.OpenManifest(l.kept.sealed, ids)
			if err != nil {
				continue // another user's
			}
			i := bySource[l.kept.source]
			if i == nil {
				i = &Interrupted{ID: l.kept.source.id(), Name: m.Name}
				bySource[l.kept.source] = i
			}
			if p := (piece{l.kept.source, l.kept.place}); !counted[p] {
				counted[p] = true
				i.Bytes += m.Size
			}
			if at := time.Unix(l.kept.at, 0); at.After(i.At) {
				i.At = at
			}
		}
		return nil
	})
	for _, i := range bySource {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(a, b Interrupted) int { return a.At.Compare(b.At) })
	return list, err
}

// Forget gives up an interrupted put: the next sweep deletes what it has
// left. Kind: FileNotFound.
func (j *Journal) Forget(ctx context.Context, id string) error {
	found := false
	matches := func(l *leftover) bool {
		ok := l.kept != nil && l.kept.at > 0 && l.kept.source.id() == id
		found = found || ok
		return ok
	}
	j.mu.Lock()
	var err error
	for _, e := range j.left {
		err = errors.Join(err, e.forget(matches))
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	err = j.others(ctx, func(name string) error {
		puts, err := readJournal(name)
		if err != nil {
			return err
		}
		var old []record
		for put, what := range puts {
			for id, l := range what {
				if matches(l) {
					old = append(old, keptRecord(put, id, &kept{l.kept.source, l.kept.place, l.kept.sealed, 0}))
				}
			}
		}
		return appendRecords(name, old)
	})
	if err == nil && !found {
		return errs.New(errs.FileNotFound, "there is no interrupted put %s", id)
	}
	return err
}
