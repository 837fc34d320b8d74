package object

import (
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
)

const (
	minPatience = 10 * time.Millisecond  // before another peer is asked in the stead of one that is known
	newPatience = 200 * time.Millisecond // of one that is not, or while hedges have cost too much
	maxPatience = 3 * time.Second
	troubleTime = 10 * time.Second // that a peer which failed is asked last; twice that if it does so again, and so on
	mostTrouble = 160 * time.Second
	fadeTime    = 30 * time.Second // in which a peer that was slow comes to be taken for one like the others
)

// Hedges may cost this part of the bytes that come, and something to begin with: firstSpare,
// or, in the stead of shards that come too slowly, one for each segment that is under way.
// What would take ten times as long, and long by itself, is hedged whatever it costs.
const (
	hedgeShare = 20
	firstSpare = 256 << 10
	mostSpare  = 64 << 20
)

// largest is the length of the shards, or slices, up to which they are small.
const largest = crypt.FrameLen

// A pace knows how fast shards come from whom, how many are asked of whom, and who
// has failed lately. Its zero value is ready for use, and it is safe for concurrent
// use.
type pace struct {
	mu    sync.Mutex // guards the rest
	peers map[datamesh.PeerID]*peerPace
	all   peerPace // what is known of all peers together
	small wait     // until any peer answers a small question
	spent int64    // bytes that hedges have cost, less their share of those that came
}

// A peerPace is what is known of one peer.
type peerPace struct {
	first   [2]wait          // until it answers, when nothing else is asked of it: small, and large
	late    [2]time.Duration // for how long it had said nothing when it should have; 0: it has served since
	at      [2]time.Time     // when it served, or should have
	perByte float64          // seconds, once it has begun; 0: not known
	here    bool             // its store tells nothing on the way: it is on this machine
	asked   int64            // bytes that are asked of it and have not come
	came    int64            // bytes that have come
	heard   time.Time        // anything of it
	trouble time.Time        // until when it is asked last
	pause   time.Duration
	doubted bool // it is not known yet whether it is there at all: it is asked last
}

// A wait is how long something takes on the average, and by how much it differs
// from that; it is not known before there was one.
type wait struct {
	mean, spread time.Duration
	known        bool
}

// took takes one more into the average, as RFC 6298 does for round trips.
func (w *wait) took(d time.Duration) {
	if !w.known {
		w.mean, w.spread, w.known = d, d/2, true
	}
	w.spread += (max(d-w.mean, w.mean-d) - w.spread) / 4
	w.mean += (d - w.mean) / 8
}

// most is what it seldom takes longer than.
func (w *wait) most() time.Duration { return w.mean + 4*w.spread }

func class(n int) int {
	if n <= largest {
		return 0
	}
	return 1
}

func (p *pace) peer(id datamesh.PeerID) *peerPace {
	if p.peers == nil {
		p.peers = map[datamesh.PeerID]*peerPace{}
	}
	if p.peers[id] == nil {
		p.peers[id] = &peerPace{}
	}
	return p.peers[id]
}

// ask takes note that n bytes are asked of a peer. What is returned is to be told
// of what comes, and in the end whether all has.
func (p *pace) ask(id datamesh.PeerID, n int) (came func(int), end func(ok bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, c := p.peer(id), class(n)
	began, before, idle := time.Now(), q.came, q.asked == 0
	q.asked += int64(n)
	left := int64(n)
	var first time.Time
	came = func(more int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		q.heard = time.Now()
		if first.IsZero() {
			first = q.heard
			if idle {
				q.first[c].took(first.Sub(began))
				p.all.first[c].took(first.Sub(began))
			}
		}
		q.came += int64(more)
		q.asked -= min(int64(more), left)
		left -= min(int64(more), left)
	}
	end = func(ok bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		now := time.Now()
		q.asked -= left
		if ok {
			q.here = first.IsZero()
			q.came += left // of which nothing was said on the way
			q.heard, q.at[c], q.late[c] = now, now, 0
			q.trouble, q.pause = time.Time{}, 0
			if !q.here {
				p.spent = max(p.spent-int64(n/hedgeShare), firstSpare-mostSpare)
			}
		}
		switch {
		case ok && q.here:
			q.first[c].took(now.Sub(began)) // and nothing is learnt of the others
		case n > largest && q.came > before && !first.IsZero(): // of what is broken off, too
			sample := now.Sub(first).Seconds() / float64(q.came-before)
			if q.perByte = blend(q.perByte, sample); ok {
				p.all.perByte = blend(p.all.perByte, sample)
			} else {
				q.at[c] = now
			}
		}
	}
	return came, end
}

// brought takes note of a peer that has sent a small shard of n bytes along with an answer.
func (p *pace) brought(id datamesh.PeerID, n int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peer(id)
	q.heard, q.trouble, q.pause = time.Now(), time.Time{}, 0
	if q.asked == 0 {
		q.first[0].took(took)
		p.all.first[0].took(took)
	}
	p.spent = max(p.spent-int64(n/hedgeShare), firstSpare-mostSpare)
}

func blend(average, sample float64) float64 {
	if average == 0 {
		return sample
	}
	return average + (sample-average)/4
}

// answered takes note of a peer that has answered a small question, and may fail to
// serve shards all the same.
func (p *pace) answered(id datamesh.PeerID, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peer(id).heard = time.Now()
	p.small.took(took)
}

// failed takes note of a peer that did not answer.
func (p *pace) failed(id datamesh.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peer(id)
	if now := time.Now(); !now.Before(q.trouble) {
		q.pause = min(max(2*q.pause, troubleTime), mostTrouble)
		q.trouble = now.Add(q.pause)
	}
}

// doubt takes note that it is being found out whether a peer that is late is there at
// all, or has been.
func (p *pace) doubt(id datamesh.PeerID, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peer(id).doubted = on
}

// troubled reports whether a peer is to be asked last.
func (p *pace) troubled(id datamesh.PeerID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peer(id)
	return q.doubted || time.Now().Before(q.trouble)
}

// silent returns for how much longer a peer, of which n bytes were asked then, may
// say nothing at all before another is asked: for what it seldom needs, and, while
// hedges have cost too much, twice that, and as long as the hedge will take.
func (p *pace) silent(id datamesh.PeerID, n int, began time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peer(id)
	w := q.first[class(n)]
	if !w.known {
		w = p.all.first[class(n)]
	}
	patience := max(w.most(), minPatience)
	if !w.known {
		patience = max(newPatience, 2*p.all.first[0].most(), 2*p.small.most())
	} else if !p.affords(n) {
		patience = max(2*patience, newPatience, time.Duration(p.all.perByte*float64(n)*float64(time.Second)))
	}
	if q.heard.After(began) {
		began = q.heard
	}
	return min(patience, maxPatience) - time.Since(began)
}

// affords reports whether another n bytes may be asked for that may come for
// nothing.
func (p *pace) affords(n int) bool { return p.spent+int64(n) <= firstSpare }

// hedged takes note of n bytes that are asked for once more.
func (p *pace) hedged(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent = min(p.spent+int64(n), mostSpare)
}

// late takes note of a peer of which n bytes were asked then, and which is silent, or overdue.
func (p *pace) late(id datamesh.PeerID, n int, began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, c := p.peer(id), class(n)
	q.at[c] = time.Now()
	q.late[c] = max(q.late[c], min(q.at[c].Sub(began), maxPatience))
}

// expected returns how long n bytes will probably take from a peer, with all that
// is asked of it already. One of which nothing is known is like the others, and so
// is, after some time, one that was slower.
func (p *pace) expected(id datamesh.PeerID, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	q, c := p.peer(id), class(n)
	own, all := q.first[c], p.all.first[c]
	first, perByte := max(own.mean, q.late[c]), q.perByte
	if !own.known {
		first = max(all.mean, q.late[c])
	}
	old := min(time.Since(q.at[c]).Seconds()/fadeTime.Seconds(), 1)
	if first > all.mean {
		first += time.Duration(float64(all.mean-first) * old)
	}
	switch {
	case q.here:
	case perByte == 0:
		perByte = p.all.perByte
	case perByte > p.all.perByte:
		perByte += (p.all.perByte - perByte) * old
	}
	return first + time.Duration(perByte*float64(q.asked+int64(n))*float64(time.Second))
}

// slow reports whether a peer from which so many of n bytes have come since it has begun
// will need more than twice as long for the others as another for all, which
// is expected to need that. As long as nothing is known of any peer there is nothing
// to compare with.
func (p *pace) slow(n, came int, since, other time.Duration) bool {
	if came == 0 || since < newPatience {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := time.Duration(float64(since) * float64(n-came) / float64(came))
	return p.knows(n) && (p.spares(n) && left > 2*other+newPatience || left > 10*other+maxPatience)
}

// overdue reports whether a peer has needed more than twice as long as it was expected to
// for n bytes, of which none have come, or all and it goes on: it may well be heard meanwhile.
func (p *pace) overdue(n int, since, expected time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.knows(n) && p.spares(n) && since > 2*expected+newPatience
}

// knows reports whether it is known what others need for n bytes, by which a peer that
// is not silent is judged.
func (p *pace) knows(n int) bool {
	return p.all.first[class(n)].known && (n <= largest || p.all.perByte > 0)
}

// spares is affords for n bytes that are hedged although the peer is not silent.
func (p *pace) spares(n int) bool { return p.spent+int64(n) <= max(firstSpare, inFlight*int64(n)) }
