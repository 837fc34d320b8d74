package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/mesh"
	"datamesh/internal/object"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// Stores is a mesh of members that store, and of whoever puts and gets: package
// object, repair and transfer as they are, clients and servers, above streams and
// disks in memory. What goes over the streams is counted.
type Stores struct {
	rand    *rand.Rand
	view    *ring.View
	members []*storeMember
	byPeer  map[datamesh.PeerID]*storeMember
	keys    *keyring.Ring
	dir     string // of journals
	moved   Moved
	asked   sync.Map // peers to which a stream was opened since
	serving sync.WaitGroup
}

// Moved is what has gone over streams.
type Moved struct {
	Requests atomic.Int64
	Bytes    atomic.Int64 // both ways, with the framing of package transfer
	Streams  atomic.Int64 // that were opened
}

// A storeMember is a member, with its disk.
type storeMember struct {
	id       datamesh.PeerID
	place    [32]byte
	disk     *Disk
	registry *repair.Registry
	server   *transfer.Server
}

// NewStores returns a mesh of so many members, whose disks are empty. Close ends it.
func NewStores(seed uint64, nodes int) (*Stores, error) {
	w, err := NewRings(seed, nodes, 0)
	if err != nil {
		return nil, err
	}
	s := &Stores{rand: w.rand, byPeer: map[datamesh.PeerID]*storeMember{}}
	var members []ring.Member
	for _, r := range w.records {
		m := &storeMember{id: r.Peer, place: r.Placement(), disk: NewDisk(capacity)}
		m.registry = &repair.Registry{Index: m.disk, Self: m.id, View: func() *ring.View { return s.view }}
		m.server = transfer.NewServer(m.id, m.disk, nil, m.registry)
		s.members, s.byPeer[m.id] = append(s.members, m), m
		members = append(members, ring.Member{Record: r, Placement: m.place, State: ring.Alive})
	}
	s.view = ring.NewView(members)
	if s.keys, err = keyring.New(keyring.Root{byte(seed)}); err != nil {
		return nil, err
	}
	s.dir, err = os.MkdirTemp("", "datamesh-scale-")
	return s, err
}

// Close waits for all that is served, and removes the journals.
func (s *Stores) Close() error {
	s.serving.Wait()
	return os.RemoveAll(s.dir)
}

// storeNet is the mesh as one peer sees it.
type storeNet struct {
	*transfer.Client
	s    *Stores
	self datamesh.PeerID
}

var (
	_ object.Net = storeNet{}
	_ repair.Net = storeNet{}
)

func (n storeNet) View() *ring.View { return n.s.view }

// Owned has no use in what is counted.
func (storeNet) Owned(context.Context, datamesh.PeerID, ed25519.PrivateKey, datamesh.SegmentID) ([]*datamesh.Descriptor, datamesh.SegmentID, bool, error) {
	return nil, datamesh.SegmentID{}, false, errs.New(errs.Unavailable, "not in a simulation")
}

// Compare asks this member itself without the network.
func (n storeNet) Compare(ctx context.Context, peer datamesh.PeerID, sums transfer.Sums) ([]int, error) {
	if peer == n.self {
		return n.s.byPeer[peer].registry.Compare(ctx, peer, sums)
	}
	return n.Client.Compare(ctx, peer, sums)
}

// net returns the mesh as a peer sees it, that has no streams yet.
func (s *Stores) net(self datamesh.PeerID) storeNet {
	open := func(_ context.Context, peer datamesh.PeerID) (mesh.Stream, error) {
		to := s.byPeer[peer]
		if to == nil {
			return nil, errs.New(errs.Unavailable, "no such member")
		}
		here, there := net.Pipe()
		s.moved.Streams.Add(1)
		s.asked.Store(peer, true)
		s.serving.Go(func() { to.server.Handle(context.Background(), self, &countedStream{there, s, false}) })
		return &countedStream{here, s, true}, nil
	}
	return storeNet{transfer.NewClient(open), s, self}
}

// A countedStream is one end of a stream in memory.
type countedStream struct {
	net.Conn
	s       *Stores
	request bool // its writes are requests
}

func (c *countedStream) Reset() error { return c.Close() }

// Write counts. A header is written at once, with its length before it.
func (c *countedStream) Write(b []byte) (int, error) {
	c.s.moved.Bytes.Add(int64(len(b)))
	if c.request && len(b) > 4 && int(binary.BigEndian.Uint32(b)) == len(b)-4 {
		c.s.moved.Requests.Add(1)
	}
	return c.Conn.Write(b)
}

// Count is what something has taken.
type Count struct {
	Requests float64
	Bytes    float64 // on streams
	Peers    float64 // that were asked
	Streams  float64
}

// Wire returns about how many bytes that is on the interface, with connections
// that are there already.
func (c Count) Wire() float64 { return c.Bytes*1.05 + wireCall*c.Requests + wireStream*c.Streams }

// count returns what do takes: the median of so many times, since a machine that is
// busy has a get ask one more now and then.
func (s *Stores) count(times int, do func() error) (Count, error) {
	var each [4][]float64
	for range times {
		s.asked.Clear()
		before := s.moved.now()
		if err := do(); err != nil {
			return Count{}, err
		}
		peers := 0
		s.asked.Range(func(any, any) bool { peers++; return true })
		for i, n := range s.moved.now() {
			each[i] = append(each[i], float64(n-before[i]))
		}
		each[3] = append(each[3], float64(peers))
	}
	for i := range each {
		slices.Sort(each[i])
	}
	middle := func(i int) float64 { return each[i][len(each[i])/2] }
	return Count{Requests: middle(0), Bytes: middle(1), Streams: middle(2), Peers: middle(3)}, nil
}

func (m *Moved) now() [3]int64 {
	return [3]int64{m.Requests.Load(), m.Bytes.Load(), m.Streams.Load()}
}

// PutGet puts objects of so many bytes of 4+2, and gets them, each with streams of
// its own.
func (s *Stores) PutGet(ctx context.Context, size, times int) (put, get Count, err error) {
	journal := object.NewJournal(s.dir, time.Hour)
	defer journal.Close()
	do := func(f func(*object.Objects) error) error {
		n := s.net(datamesh.PeerID{'u', 's', 'e', 'r'})
		defer n.Close()
		o := object.New(n, func() (*keyring.Ring, error) { return s.keys, nil }, journal, 3*time.Second)
		defer o.Close()
		return f(o)
	}
	var ids []datamesh.ObjectID
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(s.rand.Uint32())
	}
	put, err = s.count(times, func() error {
		return do(func(o *object.Objects) error {
			done, err := o.Put(ctx, bytes.NewReader(content), object.PutOptions{K: 4, M: 2, MinSurvives: -1}, func(object.PutResult) error { return nil })
			ids = append(ids, done.ID)
			return err
		})
	})
	if err != nil {
		return put, get, err
	}
	get, err = s.count(times, func() error {
		id := ids[0]
		ids = ids[1:]
		return do(func(o *object.Objects) error {
			var got bytes.Buffer
			_, err := o.Get(ctx, id, func(*format.Manifest) (io.Writer, int64, error) { return &got, 0, nil })
			if err == nil && !bytes.Equal(got.Bytes(), content) {
				err = errs.New(errs.Integrity, "other bytes came back")
			}
			return err
		})
	})
	return put, get, err
}

// keeper returns what a member repairs with.
func (s *Stores) keeper(m *storeMember) (*repair.Keeper, storeNet) {
	n := s.net(m.id)
	cfg := repair.Config{Self: m.id, Grace: 15 * time.Minute, Interval: time.Hour, Seed: s.rand.Uint64()}
	return repair.NewKeeper(n, m.registry, cfg, 0, repair.Events{}), n
}

// Proof has registrars of what was put have a holder prove a shard, and returns
// what one such proof takes.
func (s *Stores) Proof(ctx context.Context) (c Count, err error) {
	for _, m := range s.members {
		list, err := m.disk.Track(ctx, datamesh.SegmentID{}, 256)
		if err != nil {
			return c, err
		}
		for _, t := range list {
			for _, h := range t.Holdings {
				if h.Peer == m.id || t.Descriptor.ShardLen() < 16<<10 {
					continue
				}
				k, n := s.keeper(m)
				defer n.Close()
				return s.count(9, func() error {
					result, err := k.Audit(ctx, h.Peer, 1)
					if err == nil && (len(result.Answers) != 1 || result.Answers[0].Outcome != repair.Proven) {
						err = fmt.Errorf("an audit shows %+v", result.Answers)
					}
					return err
				})
			}
		}
	}
	return c, errs.New(errs.Invalid, "nobody keeps track of a shard of 16 KiB")
}

// Inventory has a member hold so many shards, as many as puts would give it of the
// segments near to it, and tell all registrars of those which they are, who know that.
// It returns what that takes, which a member does each repair.interval, 1 h.
func (s *Stores) Inventory(ctx context.Context, shards int) (Count, error) {
	m := s.members[s.rand.IntN(len(s.members))]
	const k, parity = 4, 2
	near := 0 // bits that all segments have in common with the place of a holder
	for len(s.members)>>near > 16*(k+parity) {
		near++
	}
	for held := 0; held < shards; {
		id := datamesh.SegmentID(m.place)
		for i := near; i < 256; i++ {
			if s.rand.Uint32()&1 == 1 {
				id[i/8] ^= 1 << (7 - i%8)
			}
		}
		index := slices.Index(ring.Registrars(s.view, id, k+parity), m.id)
		if index < 0 {
			continue
		}
		held++
		d := &datamesh.Descriptor{Segment: id, K: k, M: parity, Shards: make([]datamesh.ShardID, k+parity)}
		m.disk.assume(d, index)
		for _, peer := range ring.Registrars(s.view, id, ring.RegistrarCount(k, parity, s.view.Live())) {
			s.byPeer[peer].disk.suppose(d, store.Holding{Index: index, Peer: m.id})
		}
	}
	keeper, n := s.keeper(m)
	defer n.Close()
	driven := keeper.Drive(time.Now)
	return s.count(1, func() error {
		done, ok := driven.Do(ctx, repair.Announce{}).(repair.Announced)
		if !ok || len(done.Failed) > 0 {
			return fmt.Errorf("%d members could not be told", len(done.Failed))
		}
		return nil
	})
}
