package ring

import (
	"crypto/ed25519"
	"math"
	"math/rand/v2"
	"time"

	"datamesh"
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// A Machine is one node's part of the ring. It is not safe for concurrent
// use; the views that it gives are.
type Machine struct {
	cfg  Config
	key  ed25519.PrivateKey
	rand *rand.Rand

	epoch    time.Time     // of the first Step; all times within are durations since then
	now      time.Duration // never goes back
	effects  []Effect      // of this Step
	changed  bool          // whether the view is to be told of
	view     *View         // nil when it is to be made anew
	calls    map[uint64]call
	lastCall uint64

	members map[datamesh.PeerID]*member
	order   []*member          // all of them, by peer id
	live    []*member          // those other than self that are alive or suspect, in no order
	sums    [maxBuckets]uint64 // by the first byte of the peer id: the XOR of the members' sums
	due     agenda             // the members for whom something is to be done, soonest first

	self      *member       // nil for an observer
	told      Self          // what the record of self is to say
	restated  bool          // whether it says something else
	refuting  bool          // whether it needs a greater incarnation
	floor     uint64        // the greatest one of an earlier life
	announced time.Duration // when it was last made anew

	round   []*member // whom to probe, one in each period
	turn    int       // the next one's place in round
	periods int       // in which one was probed
	abroad  int       // how many of the next ones need not be contacts
	probeAt time.Duration
	knockAt time.Duration // see knockTurn

	news   []*member // those whose fact is to be told on, longest waiting first
	urgent int       // how many of them do not wait for a probe
	pushAt time.Duration

	exchange *exchange // the comparison of tables under way
	partner  *member   // who has come back and is to be compared with next
	synced   bool      // whether there was a first comparison
	joining  bool      // whether what is learnt now is a page of the first one
	syncAt   time.Duration
	syncedAt time.Duration // when the last comparison began
	interval time.Duration // between two of them; grows up to Config.Sync
}

// New returns a machine. Of self, which is signed anew with the peer's key,
// the caller sets Seq to the time in Unix milliseconds, so that it grows over
// restarts. Self is nil for an observer, such as a client, which pulls the
// table from its members and leaves no trace in it; its key is not used.
// Kind: Invalid, for a self that cannot be.
func New(cfg Config, self *Record, key ed25519.PrivateKey) (*Machine, error) {
	cfg = cfg.withDefaults()
	m := &Machine{
		cfg:     cfg,
		key:     key,
		rand:    rand.New(rand.NewPCG(cfg.Seed, 0)),
		members: make(map[datamesh.PeerID]*member),
		calls:   make(map[uint64]call),
	}
	m.probeAt = m.upTo(cfg.Probe)
	m.syncAt = m.upTo(cfg.Sync)
	m.announced, m.syncedAt = -cfg.Probe, -cfg.Probe
	m.knockAt = -cfg.Probe
	if self == nil || self.Role == Client {
		return m, nil
	}
	draft := *self
	draft.Mesh = cfg.Mesh
	draft.Addrs = fitting(draft.Addrs)
	rec, err := Sign(key, draft)
	if err != nil {
		return nil, err
	}
	m.told = Self{rec.Addrs, rec.Capacity, rec.Used}
	m.self = m.add(rec)
	m.setClaim(m.self, alive)
	m.spread(m.self, true)
	return m, nil
}

// Acquaint makes the machine one that has compared its table before, and knows
// of all these others that they live. It is for a simulation of a mesh that has
// been together for a while, and is called before the first Step.
func (m *Machine) Acquaint(others []*Record) {
	m.synced, m.interval = true, m.cfg.Sync
	for _, rec := range others {
		if m.members[rec.Peer] == nil {
			m.setClaim(m.add(rec), alive)
		}
	}
	if m.self != nil {
		m.hush(m.self)
	}
}

// Step tells the machine what time it is and what happened, does what is due
// by then, and returns what is to be done, in this order. Time in which the
// machine slept, because nobody ticked it, does not count: it says nothing
// about others.
func (m *Machine) Step(now time.Time, ev Event) []Effect {
	if m.epoch.IsZero() {
		m.epoch = now
	}
	at := now.Sub(m.epoch)
	if awake := max(m.now, m.next()); awake < at-m.cfg.Probe {
		m.epoch = m.epoch.Add(at - m.cfg.Probe - awake)
		at = awake + m.cfg.Probe
	}
	m.now = max(m.now, at)
	switch ev := ev.(type) {
	case Request:
		m.serve(ev)
	case Response:
		m.answered(ev.Token, ev.Message, ev.Took)
	case Failed:
		m.answered(ev.Token, nil, 0)
	case Learned:
		m.learned(ev)
	case Disconnected:
		if x := m.members[ev.Peer]; x != nil && x != m.self && x.claim == alive && m.self != nil && (m.isContact(x) || x == m.watched()) {
			m.probe(x)
		}
	case Self:
		m.restate(ev)
	case Compare:
		m.syncAt = m.now
		if x := m.members[ev.With]; x != nil && x != m.self {
			m.partner = x
		}
	}
	m.attendAll()
	m.probeNext()
	m.watch()
	m.announce()
	m.syncNext()
	m.push()
	if m.changed {
		m.effects = append(m.effects, Changed{})
	}
	effects := m.effects
	m.effects, m.changed = nil, false
	return effects
}

// Next returns when the machine wants its next Step, if nothing happens
// before. A driver that ticks every Probe/4 instead learns of a death later.
func (m *Machine) Next() time.Time { return m.epoch.Add(m.next()) }

func (m *Machine) next() time.Duration {
	at := min(m.due.soonest(), m.nextSync(), m.nextPush(), m.nextAnnounce())
	if m.self != nil {
		at = min(at, m.probeAt, m.nextWatch())
	}
	return at
}

// Self returns this member's record as it stands, or nil for an observer.
func (m *Machine) Self() *Record {
	if m.self == nil {
		return nil
	}
	return m.self.rec
}

// Synced reports whether the table was once compared with a member's, so that
// it is more than what was remembered. Changed tells when it becomes true.
func (m *Machine) Synced() bool { return m.synced }

// Comparing reports whether the table is being compared with a member's.
func (m *Machine) Comparing() bool { return m.exchange != nil }

// upTo returns a random time below d.
func (m *Machine) upTo(d time.Duration) time.Duration {
	return time.Duration(m.rand.Int64N(int64(d)))
}

// pick returns up to n different contacts that are alive, other than x, at
// random; if there are none, others.
func (m *Machine) pick(n int, x *member) []*member {
	if picked := m.pickOf(m.isContact, n, x); len(picked) > 0 {
		return picked
	}
	return m.pickOf(func(*member) bool { return true }, n, x)
}

func (m *Machine) pickOf(among func(*member) bool, n int, x *member) []*member {
	var picked []*member
	for i := 0; i < len(m.live) && len(picked) < n; i++ {
		j := i + m.rand.IntN(len(m.live)-i)
		m.place(m.live[j], i, m.live[i], j)
		if y := m.live[i]; y != x && y.claim == alive && among(y) {
			picked = append(picked, y)
		}
	}
	return picked
}
