package durability

import "math"

// A chain is a Markov chain in continuous time. Its states are ways in which
// shards of a segment are missing, numbered so that losses lead upwards only;
// in state 0 none is. From every other state repair leads to state 0, at one
// rate. The state in which the segment is lost has no number.
type chain struct {
	edges  [][]edge  // of each state, upwards
	lost   []float64 // the rate at which it leads to the loss of the segment
	out    []float64 // the rate of both together
	repair float64
	depth  int // the most losses of shards that do not lose the segment
}

type edge struct {
	to   int
	rate float64
}

func newChain(m Model, states int) *chain {
	return &chain{make([][]edge, states), make([]float64, states), make([]float64, states), m.repairs(), m.M}
}

// leads adds a way out of a state; beyond the last state is loss.
func (c *chain) leads(from, to int, rate float64) {
	if to < len(c.edges) {
		c.edges[from] = append(c.edges[from], edge{to, rate})
	} else {
		c.lost[from] += rate
	}
	c.out[from] += rate
}

// meanLife is exact. Time falls into cycles, each of which begins in state 0
// and ends with a repair or with loss; so it is the mean length of a cycle
// divided by the probability that one ends with loss. As losses lead upwards
// only, both follow from the last state down to 0. There are only sums,
// products and quotients of what is not negative, as in the elimination of
// Grassmann, Taksar and Heyman (1985): whatever is small is small exactly.
func (c *chain) meanLife() float64 {
	n := len(c.edges)
	length, doomed := make([]float64, n), make([]float64, n)
	for s := n - 1; s >= 0; s-- {
		rate := c.out[s]
		if s > 0 {
			rate += c.repair
		}
		if rate == 0 {
			return math.Inf(1)
		}
		time, loss := 1.0, c.lost[s]
		for _, e := range c.edges[s] {
			time += e.rate * length[e.to]
			loss += e.rate * doomed[e.to]
		}
		length[s], doomed[s] = time/rate, loss/rate
	}
	return length[0] / doomed[0]
}

// lostWithin returns the probability that the segment is lost within t years.
//
// It follows the probabilities of all states by uniformization (Jensen 1953):
// a Poisson process at the fastest rate of any state gives the chain occasions
// to change, and from one to the next it is a chain in steps. It does so for
// many times the mean of a repair, until the states keep their proportions:
// from then on the segment is lost at a constant rate.
func (c *chain) lostWithin(t float64) float64 {
	var rate float64
	for s := range c.out {
		rate = max(rate, c.out[s]+c.repair)
	}
	if rate == 0 {
		return 0
	}
	mixing := t
	if c.repair > 0 {
		mixing = min(t, (80+2*float64(c.depth))/c.repair)
	}
	v := make([]float64, len(c.out))
	v[0] = 1
	alive, lost := 1.0, 0.0
	for left := mixing * rate; left > 0 && alive > 1e-20; {
		u := min(left, 512) // such that exp(-u) is far from too small
		var more float64
		v, more = c.advance(v, rate, u)
		lost += more
		left -= u
		alive = sum(v)
	}
	if alive > 0 {
		var hazard float64
		for s, p := range v {
			hazard += p * c.lost[s] / alive
		}
		lost -= alive * math.Expm1(-hazard*(t-mixing))
	}
	return min(lost, 1)
}

// advance returns the probabilities of states when a time has passed in which
// there are u occasions on average, and the probability that the segment was
// lost in it.
func (c *chain) advance(v []float64, rate, u float64) (after []float64, lost float64) {
	weights, later := poisson(u, c.depth)
	after, next := make([]float64, len(v)), make([]float64, len(v))
	v = append([]float64(nil), v...)
	for j, w := range weights {
		var loss float64
		for s, p := range v {
			after[s] += w * p
			loss += p * c.lost[s]
		}
		lost += loss / rate * later[j]
		c.step(next, v, rate)
		v, next = next, v
	}
	return after, lost
}

// step writes the probabilities of states after one more occasion to next.
func (c *chain) step(next, v []float64, rate float64) {
	var repaired float64
	for s, p := range v {
		stay := rate - c.out[s]
		if s > 0 {
			stay -= c.repair
			repaired += p
		}
		next[s] = p * max(0, stay/rate)
	}
	for s, p := range v {
		for _, e := range c.edges[s] {
			next[e.to] += p * (e.rate / rate)
		}
	}
	next[0] += repaired * (c.repair / rate)
}

// poisson returns the probabilities of 0, 1, 2… occasions where there are u on
// average, and of more than 0, more than 1… There are enough of them for what
// takes more than depth occasions, however rare that is: counted from there,
// the rest still weighs less than 1e-20.
func poisson(u float64, depth int) (exactly, more []float64) {
	n := depth + 40 + int(u+9*math.Sqrt(u))
	exactly, more = make([]float64, n+1), make([]float64, n+1)
	exactly[0] = math.Exp(-u)
	for j := 1; j <= n; j++ {
		exactly[j] = exactly[j-1] * u / float64(j)
	}
	for j := n - 1; j >= 0; j-- {
		more[j] = more[j+1] + exactly[j+1]
	}
	return exactly, more
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}
