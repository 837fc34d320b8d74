package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// With a period of hours nothing comes by itself.
func still(cfg Config) Config {
	cfg.Probe = 10 * time.Hour
	return cfg
}

func greetingsOf(t *testing.T, n *Net) map[datamesh.PeerID]Presence {
	t.Helper()
	return inOrder(t, n.Discover(t.Context()))
}

// inOrder checks that all are in the order of their ids, each of them once.
func inOrder(t *testing.T, all []Presence) map[datamesh.PeerID]Presence {
	t.Helper()
	if !slices.IsSortedFunc(all, func(a, b Presence) int { return bytes.Compare(a.Record.Peer[:], b.Record.Peer[:]) }) {
		t.Errorf("%v is not in the order of the ids", all)
	}
	byID := map[datamesh.PeerID]Presence{}
	for _, g := range all {
		byID[g.Record.Peer] = g
	}
	if len(byID) != len(all) {
		t.Errorf("%v has a member twice", all)
	}
	return byID
}

func TestDiscoverTellsWhoIsThereNow(t *testing.T) {
	a := start(t, still(first(t)))
	b, c := start(t, still(through(t, a))), start(t, still(through(t, a)))
	for _, n := range []*Net{b, c} {
		a.waitFor(t, "the others", func(v *ring.View) bool { return stateOf(v, n.ID()) == ring.Alive })
	}
	stop(t, c)
	var got map[datamesh.PeerID]Presence
	eventually(t, "an answer", func() bool { // in time, on a busy machine
		got = greetingsOf(t, a)
		return got[b.ID()].Answers
	})
	if g := got[b.ID()]; !g.Answers || g.Latency <= 0 {
		t.Errorf("one that is there: got %+v", g)
	}
	if g, ok := got[c.ID()]; !ok || g.Answers || g.Latency != 0 {
		t.Errorf("one that is gone: got %+v, %t", g, ok)
	}
	if len(got) != 2 {
		t.Errorf("got %d members, want 2", len(got))
	}
	cfg := still(through(t, b)) // of which nobody tells a
	cfg.Agent = "test/1"
	d := start(t, cfg)
	b.waitFor(t, "the new one", func(v *ring.View) bool { return stateOf(v, d.ID()) == ring.Alive })
	var agent string
	var protocols []string
	eventually(t, "an answer of one that is new", func() bool {
		answers := greetingsOf(t, a)[d.ID()].Answers
		agent, protocols = a.Speaks(d.ID())
		return answers && agent != ""
	})
	if agent != cfg.Agent || !slices.Contains(protocols, "hello/1") || !slices.Contains(protocols, ringProtocol) {
		t.Errorf("the new one speaks %q, %q", agent, protocols)
	}
}

// named is a host of which only its id is known.
type named struct {
	host.Host
	id peer.ID
}

func (h named) ID() peer.ID { return h.id }

// A roll is a Net without a network, whose member table the test fills.
type roll struct {
	*Net
	machine *ring.Machine

	mu      sync.Mutex // guards what follows
	now     int        // greetings that are under way
	most    int        // at once
	longest time.Duration
	asked   []datamesh.PeerID // while there was time
}

func newRoll(t *testing.T) *roll {
	t.Helper()
	n := &Net{genesis: newGenesis(t, "test"), host: named{id: peer.ID(datamesh.PeerID{}.Multihash())}, ctx: t.Context()}
	machine, err := ring.New(ring.Config{Mesh: n.genesis.MeshID()}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.view.Store(machine.View())
	return &roll{Net: n, machine: machine}
}

// add adds so many members, and returns their ids.
func (r *roll) add(count int, state ring.State) (ids []datamesh.PeerID) {
	for range count {
		record := &ring.Record{Mesh: r.genesis.MeshID(), Peer: datamesh.PeerID([]byte(rand.Text() + rand.Text())[:32]), Seq: 1, Role: ring.Storage}
		r.machine.Step(time.Now(), ring.Learned{Record: record, State: state, Since: time.Now().Add(-time.Hour)})
		ids = append(ids, record.Peer)
	}
	r.view.Store(r.machine.View())
	return ids
}

// silence is a member's that does not answer.
func (r *roll) silence(ctx context.Context, of *ring.Record) Presence {
	began := time.Now()
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	if ctx.Err() == nil {
		r.asked = append(r.asked, of.Peer)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.now--
	r.longest = max(r.longest, time.Since(began))
	r.mu.Unlock()
	return Presence{Record: of}
}

// Those that live come first, the dead have half of the time, and there is time
// left for whoever comes up meanwhile.
func TestDiscoverDividesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll(t)
		dead, live := r.add(300, ring.Dead), r.add(3, ring.Alive)
		var late []datamesh.PeerID
		comeUp := sync.OnceFunc(func() { late = r.add(300, ring.Dead) })
		began := time.Now()
		all := r.discover(t.Context(), func(ctx context.Context, of *ring.Record) Presence {
			comeUp()
			return r.silence(ctx, of)
		})
		if took := time.Since(began); took != discoverBudget || r.longest != memberTime || r.most != membersAtOnce {
			t.Errorf("it took %v, a member at most %v, and %d at once", took, r.longest, r.most)
		}
		for _, id := range live {
			if !slices.Contains(r.asked[:min(membersAtOnce, len(r.asked))], id) {
				t.Errorf("%s, which lives, is not among the first", id)
			}
		}
		for who, ids := range map[string][]datamesh.PeerID{"is dead": dead, "has come up meanwhile": late} {
			if !slices.ContainsFunc(ids, func(id datamesh.PeerID) bool { return slices.Contains(r.asked, id) }) {
				t.Errorf("nobody is asked who %s", who)
			}
		}
		got := inOrder(t, all)
		for _, id := range slices.Concat(live, dead, late) {
			if g, ok := got[id]; !ok || g.Answers {
				t.Errorf("%s: got %+v, %t", id, g, ok)
			}
		}
	})
}

func TestSilentAreThoseThatLiveAndDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll(t)
		dead, live := r.add(3, ring.Dead), r.add(300, ring.Alive)
		answers := live[0]
		began := time.Now()
		silent := r.silent(t.Context(), func(ctx context.Context, of *ring.Record) Presence {
			if of.Peer == answers {
				return Presence{Record: of, Answers: true}
			}
			return r.silence(ctx, of)
		})
		if took := time.Since(began); took != discoverBudget {
			t.Errorf("it took %v", took)
		}
		for _, id := range dead {
			if slices.Contains(r.asked, id) {
				t.Errorf("%s is asked, which is dead", id)
			}
		}
		if len(silent) != len(live)-1 || slices.ContainsFunc(silent, func(id datamesh.PeerID) bool { return !slices.Contains(live[1:], id) }) {
			t.Errorf("%d are silent, want all %d that live but the one that answers", len(silent), len(live))
		}
	})
}

// Comparing alone, without Kademlia, brings a member that another knows.
func TestCompareBringsWhomOthersKnow(t *testing.T) {
	a := start(t, still(first(t)))
	b := start(t, still(through(t, a)))
	a.waitFor(t, "the other", func(v *ring.View) bool { return stateOf(v, b.ID()) == ring.Alive })
	var knows func(*ring.View) bool
	learn := func() (came bool) {
		r, err := ring.Sign(newKey(t), ring.Record{Mesh: a.Genesis().MeshID(), Seq: 1, Role: ring.Storage})
		if err != nil {
			t.Fatal(err)
		}
		b.event(ring.Learned{Record: r, State: ring.Dead, Since: time.Now()})
		knows = func(v *ring.View) bool { _, ok := v.Lookup(r.Peer); return ok }
		b.waitFor(t, "the third", knows)
		return knows(a.View())
	}
	for tries := 1; learn(); tries++ { // a first one may come by what they compare when they meet
		if tries == 10 {
			t.Fatal("they come by themselves")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	a.compare(ctx, datamesh.PeerID{})
	if !knows(a.View()) || ctx.Err() != nil {
		t.Errorf("it is not known after a comparison (%v)", ctx.Err())
	}
}

func TestDiscoverEndsWithItsContextAndItsNode(t *testing.T) {
	a := start(t, still(first(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := a.Discover(ctx); got == nil || len(got) != 0 {
		t.Errorf("got %v, want an empty list", got)
	}
	stop(t, a)
	if got := a.Discover(t.Context()); got == nil || len(got) != 0 {
		t.Errorf("got %v, want an empty list", got)
	}
}
