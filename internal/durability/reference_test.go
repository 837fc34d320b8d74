package durability

import (
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"
)

// A matrix of numbers with so many digits that cancellation does not matter.
type matrix [][]*big.Float

const precision = 448 // bits

func number(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

func newMatrix(n int) matrix {
	a := make(matrix, n)
	for i := range a {
		a[i] = make([]*big.Float, n)
		for j := range a[i] {
			a[i][j] = number(0)
		}
	}
	return a
}

func (a matrix) times(b matrix) matrix {
	product := newMatrix(len(a))
	term := number(0)
	for i := range a {
		for k, x := range a[i] {
			if x.Sign() == 0 {
				continue
			}
			for j, y := range b[k] {
				product[i][j].Add(product[i][j], term.Mul(x, y))
			}
		}
	}
	return product
}

// exp returns the exponential of a matrix: Taylor's series of a small part of
// it, squared until it is the whole.
func (a matrix) exp() matrix {
	halvings := 24
	for i := range a {
		halvings = max(halvings, 24+a[i][i].MantExp(nil))
	}
	small, term, total := newMatrix(len(a)), newMatrix(len(a)), newMatrix(len(a))
	for i := range a {
		for j := range a {
			small[i][j].SetMantExp(a[i][j], -halvings)
		}
		term[i][i], total[i][i] = number(1), number(1)
	}
	for n := 1; n <= precision/24; n++ {
		term = term.times(small)
		for i := range a {
			for j := range a {
				term[i][j].Quo(term[i][j], number(float64(n)))
				total[i][j].Add(total[i][j], term[i][j])
			}
		}
	}
	for range halvings {
		total = total.times(total)
	}
	return total
}

// lasts returns the mean time in each state but the last, added up, when the
// chain of these rates begins in the first: elimination from below.
func (a matrix) lasts() *big.Float {
	n := len(a) - 1
	time := make([]*big.Float, n)
	for i := range time {
		time[i] = number(1)
	}
	for s := n - 1; s > 0; s-- {
		for i := range s {
			part := number(0).Quo(a[i][s], a[s][s])
			time[i].Sub(time[i], number(0).Mul(part, time[s]))
			for j := range s {
				a[i][j].Sub(a[i][j], number(0).Mul(part, a[s][j]))
			}
		}
	}
	return time[0].Quo(time[0], a[0][0].Neg(a[0][0]))
}

// rates has the states one by one: the sets of shards that are missing, none
// first, and loss last.
func rates(m Model) matrix {
	n := m.K + m.M
	var states []uint
	known := map[uint]int{}
	for set := range uint(1) << n {
		if bits.OnesCount(set) <= m.M {
			known[set] = len(states)
			states = append(states, set)
		}
	}
	lost := len(states)
	a := newMatrix(lost + 1)
	leads := func(from int, set uint, rate float64) {
		to, ok := known[set]
		if !ok {
			to = lost
		}
		a[from][to].Add(a[from][to], number(rate))
		a[from][from].Sub(a[from][from], number(rate))
	}
	for from, set := range states {
		for shard := range n {
			if set>>shard&1 == 0 {
				leads(from, set|1<<shard, m.Loss)
			}
		}
		first := 0
		for _, size := range m.Domains {
			whole := (uint(1)<<size - 1) << first
			if set&whole != whole {
				leads(from, set|whole, m.DomainLoss)
			}
			first += size
		}
		if set != 0 {
			leads(from, 0, m.repairs())
		}
	}
	return a
}

// The reference is another way with many more digits: the exponential of the
// matrix of all rates, whose states are not lumped together.
func TestTheAnnualLossIsExact(t *testing.T) {
	var worst, worstLife float64
	check := func(m Model) {
		a := rates(m)
		loss, _ := a.exp()[0][len(a)-1].Float64()
		years, _ := a.lasts().Float64()
		got, gotYears := annual(t, m), life(t, m)
		off, offLife := math.Abs(got/loss-1), math.Abs(gotYears/years-1)
		if !(off < 1e-11 && offLife < 1e-13) {
			t.Errorf("%+v: loss of %v, want %v; %v years, want %v", m, got, loss, gotYears, years)
		}
		worst, worstLife = max(worst, off), max(worstLife, offLife)
	}
	for _, loss := range []float64{1e-9, 0.1, 20} {
		for _, repair := range []time.Duration{time.Microsecond, time.Hour, week, 10 * 365 * day, Never} {
			check(Model{K: 1, M: 3, Loss: loss, Repair: repair})
			check(Model{K: 2, M: 2, Loss: loss, Repair: repair, Domains: []int{2, 1, 1}, DomainLoss: 0.3})
		}
	}
	for _, domains := range [][]int{{1, 2, 2, 1}, {2, 2, 2}, {3, 3}, {3, 2, 1}, {4, 2}} {
		check(Model{K: 4, M: 2, Loss: 0.1, Repair: day, Domains: domains, DomainLoss: 0.01})
	}
	check(Model{K: 4, M: 2, Loss: 5, Repair: 10 * day})
	t.Logf("the largest relative errors: annual loss %.1e, mean life %.1e", worst, worstLife)
}

// simulate plays a year with a lifetime for every holder and domain and a time
// for every repair, and reports whether the segment was lost.
func simulate(r *rand.Rand, m Model) bool {
	after := func(now, rate float64) float64 {
		if rate == 0 {
			return math.Inf(1)
		}
		return now + r.ExpFloat64()/rate
	}
	var domainOf []int
	for d, size := range m.Domains {
		for range size {
			domainOf = append(domainOf, d)
		}
	}
	holders, domains := make([]float64, m.K+m.M), make([]float64, len(m.Domains)) // when they are lost; 0: missing
	for i := range holders {
		holders[i] = after(0, m.Loss)
	}
	for d := range domains {
		domains[d] = after(0, m.DomainLoss)
	}
	repair, missing := math.Inf(1), 0
	for {
		now, holder, domain := repair, -1, -1
		for i, at := range holders {
			if at > 0 && at < now {
				now, holder = at, i
			}
		}
		for d, at := range domains {
			if at < now {
				now, holder, domain = at, -1, d
			}
		}
		if now > 1 {
			return false
		}
		gone := missing
		for i := range holders {
			switch {
			case holder < 0 && domain < 0 && holders[i] == 0:
				holders[i], gone = after(now, m.Loss), 0
			case holders[i] > 0 && (i == holder || domain >= 0 && domainOf[i] == domain):
				holders[i] = 0
				gone++
			}
		}
		if domain >= 0 {
			domains[domain] = after(now, m.DomainLoss)
		}
		switch {
		case gone > m.M:
			return true
		case gone == 0:
			repair = math.Inf(1)
		case missing == 0:
			repair = after(now, m.repairs())
		}
		missing = gone
	}
}

func TestASimulationLosesAsManySegments(t *testing.T) {
	const seed, years = 20060508, 40_000
	for _, m := range []Model{
		{K: 4, M: 2, Loss: 5, Repair: 10 * day},
		{K: 4, M: 2, Loss: 1, Repair: 10 * day},
		{K: 4, M: 2, Loss: 1, Repair: 10 * day, Domains: []int{2, 2, 1, 1}, DomainLoss: 0.5},
		{K: 4, M: 4, Loss: 0.5, Repair: 30 * day, Domains: []int{3, 3, 2}, DomainLoss: 1},
	} {
		r := rand.New(rand.NewPCG(seed, 0))
		lost := 0
		for range years {
			if simulate(r, m) {
				lost++
			}
		}
		got, want := float64(lost)/years, annual(t, m)
		half := 3.2905 * math.Sqrt(want*(1-want)/years) // of an interval that holds in 99.9 % of all cases
		t.Logf("%+v: simulated %.4f, computed %.4f, interval ± %.4f", m, got, want, half)
		if math.Abs(got-want) > half {
			t.Errorf("%+v: simulated %v, computed %v (seed %d)", m, got, want, seed)
		}
	}
}

func BenchmarkAnnualLoss(b *testing.B) {
	for b.Loop() {
		if _, err := (Model{K: 4, M: 2, Loss: 0.1, Repair: day}).AnnualLoss(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnnualLossByDomain(b *testing.B) {
	m := Model{K: 16, M: 32, Loss: 0.1, Repair: day, DomainLoss: 0.01, Domains: []int{6, 6, 6, 6, 6, 6, 6, 6}}
	for b.Loop() {
		if _, err := m.AnnualLoss(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(byDomain(m).edges)), "states")
}
