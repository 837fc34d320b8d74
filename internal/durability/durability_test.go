package durability

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"datamesh/internal/errs"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

func annual(t *testing.T, m Model) float64 {
	t.Helper()
	p, err := m.AnnualLoss()
	if err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	return p
}

func life(t *testing.T, m Model) float64 {
	t.Helper()
	years, err := m.MeanLife()
	if err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	return years
}

// near reports whether got is want but for a relative error.
func near(got, want, within float64) bool {
	return got == want || math.Abs(got-want) <= within*math.Abs(want)
}

// models returns models of all kinds with rates over many decades.
func models(t *testing.T, n int) (all []Model) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	between := func(low, high float64) float64 { return low * math.Pow(high/low, r.Float64()) }
	for len(all) < n {
		m := Model{K: 1 + r.IntN(12), M: r.IntN(7), Loss: between(1e-4, 5)}
		m.Repair = time.Duration(between(float64(time.Minute), float64(year)))
		if len(all)%2 == 1 {
			m.DomainLoss = between(1e-4, 1)
			for left := m.K + m.M; left > 0; {
				size := 1 + r.IntN(min(left, 3))
				m.Domains = append(m.Domains, size)
				left -= size
			}
		}
		all = append(all, m)
	}
	return all
}

func TestASegmentWithoutSpareIsLostWithAnyHolder(t *testing.T) {
	for _, rate := range []float64{0, 1e-12, 0.01, 0.5, 3, 100} {
		for _, repair := range []time.Duration{1, time.Hour, week, Never} {
			for _, k := range []int{1, 4} {
				want := -math.Expm1(-float64(k) * rate)
				if got := annual(t, Model{K: k, Loss: rate, Repair: repair}); !near(got, want, 1e-13) {
					t.Errorf("%d+0 at %v a year, repair in %v: %v, want %v", k, rate, repair, got, want)
				}
				if got := life(t, Model{K: k, Loss: rate, Repair: repair}); !near(got, 1/(float64(k)*rate), 1e-15) {
					t.Errorf("%d+0 at %v a year: lasts %v years", k, rate, got)
				}
			}
		}
	}
}

func TestTwoCopiesLastAsLongAsTheFormulaSays(t *testing.T) {
	for _, rate := range []float64{1e-9, 0.01, 0.5, 3, 900} {
		for _, repair := range []time.Duration{1, time.Second, time.Hour, week, 50 * 365 * day} {
			repairs := float64(year) / float64(repair)
			want := (3*rate + repairs) / (2 * rate * rate)
			if got := life(t, Model{K: 1, M: 1, Loss: rate, Repair: repair}); !near(got, want, 1e-14) {
				t.Errorf("at %v a year, repair in %v: %v years, want %v", rate, repair, got, want)
			}
		}
	}
}

// Without repair each holder lasts through the year or not, and nothing else
// counts.
func TestWithoutRepairTheLossIsBinomial(t *testing.T) {
	for _, code := range [][2]int{{1, 1}, {1, 2}, {4, 2}, {8, 4}, {10, 20}, {1, 60}, {128, 128}} {
		k, m := code[0], code[1]
		for _, rate := range []float64{1e-6, 0.01, 0.1, 0.7, 5} {
			var want float64
			for gone := m + 1; gone <= k+m; gone++ {
				want += binomial(k+m, gone, rate)
			}
			if got := annual(t, Model{K: k, M: m, Loss: rate, Repair: Never}); want > 1e-250 && !near(got, want, 1e-10) {
				t.Errorf("%d+%d at %v: %v, want %v", k, m, rate, got, want)
			}
		}
	}
}

// binomial returns the probability that so many of n holders are lost within a
// year.
func binomial(n, gone int, rate float64) float64 {
	ways := func(x int) float64 { l, _ := math.Lgamma(float64(x + 1)); return l }
	return math.Exp(ways(n) - ways(gone) - ways(n-gone) +
		float64(gone)*math.Log(-math.Expm1(-rate)) - float64(n-gone)*rate)
}

// If the shards are repaired one after another, each in the same time, the
// mean life is a sum of products: the chain is one of births and deaths.
func TestRepairingOneAfterAnotherIsMuchTheSame(t *testing.T) {
	for _, code := range [][2]int{{1, 2}, {4, 2}, {8, 4}} {
		k, m := code[0], code[1]
		together := life(t, Model{K: k, M: m, Loss: 0.1, Repair: day})
		single := birthsAndDeaths(k, m, 0.1, func(missing int) float64 { return 365.25 })
		if ratio := together / single; ratio < 1 || ratio > 1.02 {
			t.Errorf("%d+%d: all at once lasts %v times as long as one after another", k, m, ratio)
		}
		parallel := birthsAndDeaths(k, m, 0.1, func(missing int) float64 { return 365.25 * float64(missing) })
		if gain := parallel / together; !near(gain, math.Gamma(float64(m+1)), 0.02) {
			t.Errorf("%d+%d: independent repairs last %v times as long, want about %d!", k, m, gain, m)
		}
	}
}

// birthsAndDeaths returns the mean time until more than m shards are missing,
// when repairs bring one back at a time.
func birthsAndDeaths(k, m int, loss float64, repair func(missing int) float64) (years float64) {
	step := 0.0 // the mean time from so many missing to one more
	for missing := range m + 1 {
		rate := float64(k+m-missing) * loss
		step = 1 / rate * (1 + step*repair(missing)*min(1, float64(missing)))
		years += step
	}
	return years
}

// What the mean life says of a year is bounded on both sides; docs/durability.md
// has the proof.
func TestTheMeanLifeBoundsTheAnnualLoss(t *testing.T) {
	for _, m := range models(t, 300) {
		p, x := annual(t, m), 1/life(t, m)
		first := float64(m.K+m.M)*m.Loss + float64(len(m.Domains))*m.DomainLoss
		delay := float64(m.M) / m.repairs() * (1 + first/m.repairs())
		if low := x * (1 - x - delay); p > x*(1+1e-9) || p < low*(1-1e-9) {
			t.Errorf("%+v: %v is not between %v and %v", m, p, low, x)
		}
		if alike := -math.Expm1(-x); m.Repair < time.Hour && x < 1e-6 && !near(p, alike, 2*delay+1e-6) {
			t.Errorf("%+v: %v, by the mean life %v", m, p, alike)
		}
	}
}

func TestWhatIsWorseLosesMore(t *testing.T) {
	for _, m := range models(t, 300) {
		worse := map[string]Model{}
		change := func(how string, change func(*Model)) {
			other := m
			other.Domains = slices.Clone(m.Domains)
			change(&other)
			worse[how] = other
		}
		change("more loss", func(o *Model) { o.Loss *= 1.1 })
		change("slower repair", func(o *Model) { o.Repair += o.Repair / 10 })
		change("no repair", func(o *Model) { o.Repair = Never })
		change("one spare less", func(o *Model) {
			if o.M == 0 || len(o.Domains) > 0 {
				return
			}
			o.M--
		})
		change("one more to need", func(o *Model) {
			if o.K++; len(o.Domains) > 0 {
				o.Domains = append(o.Domains, 1)
			}
		})
		if len(m.Domains) > 0 {
			change("more loss of domains", func(o *Model) { o.DomainLoss *= 1.1 })
		}
		p, years := annual(t, m), life(t, m)
		for how, other := range worse {
			if q := annual(t, other); q < p*(1-1e-11) {
				t.Errorf("%+v: %v, with %s only %v", m, p, how, q)
			}
			if more := life(t, other); more > years*(1+1e-11) {
				t.Errorf("%+v: lasts %v years, with %s even %v", m, years, how, more)
			}
		}
	}
}

func TestDomainsOfOneShardAreMoreLossOfHolders(t *testing.T) {
	for _, repair := range []time.Duration{time.Hour, week, Never} {
		m := Model{K: 8, M: 4, Loss: 0.07, Repair: repair, DomainLoss: 0.03, Domains: slices.Repeat([]int{1}, 12)}
		all := Model{K: 8, M: 4, Loss: 0.1, Repair: repair}
		if got, want := annual(t, m), annual(t, all); !near(got, want, 1e-11) {
			t.Errorf("repair in %v: %v, want %v", repair, got, want)
		}
		if got, want := life(t, m), life(t, all); !near(got, want, 1e-12) {
			t.Errorf("repair in %v: %v years, want %v", repair, got, want)
		}
	}
}

func TestOneDomainForAllIsLostAsOne(t *testing.T) {
	m := Model{K: 4, M: 2, Loss: 1e-9, Repair: time.Hour, Domains: []int{6}, DomainLoss: 0.02}
	if got, want := annual(t, m), -math.Expm1(-0.02); !near(got, want, 1e-12) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Holders that have several shards each are domains.
func TestTwoShardsOnAHolderAreAShardOfHalfTheCode(t *testing.T) {
	double := Model{K: 4, M: 2, Repair: day, Domains: []int{2, 2, 2}, DomainLoss: 0.1}
	single := Model{K: 2, M: 1, Repair: day, Loss: 0.1}
	if got, want := annual(t, double), annual(t, single); !near(got, want, 1e-12) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheOrderOfDomainsDoesNotMatter(t *testing.T) {
	m := Model{K: 5, M: 4, Loss: 0.3, Repair: week, Domains: []int{1, 3, 2, 1, 2}, DomainLoss: 0.1}
	want := annual(t, m)
	before := slices.Clone(m.Domains)
	for range 20 {
		rand.Shuffle(len(m.Domains), func(i, j int) { m.Domains[i], m.Domains[j] = m.Domains[j], m.Domains[i] })
		given := slices.Clone(m.Domains)
		if got := annual(t, m); got != want {
			t.Errorf("%v: %v, but %v: %v", before, want, m.Domains, got)
		}
		if !slices.Equal(given, m.Domains) {
			t.Error("the model was changed")
		}
	}
}

// The bound for what has too many states is compared where both are known.
func TestCountingWholeDomainsIsABoundAndAlmostSharp(t *testing.T) {
	for _, m := range models(t, 200) {
		if len(m.Domains) == 0 {
			continue
		}
		exact, bound := byDomain(m), byNumber(m)
		if p, most := exact.lostWithin(1), bound.lostWithin(1); most < p*(1-1e-11) {
			t.Errorf("%+v: %v, and the bound %v", m, p, most)
		}
		if years, least := exact.meanLife(), bound.meanLife(); least > years*(1+1e-11) {
			t.Errorf("%+v: %v years, and the bound %v", m, years, least)
		}
	}
	m := Model{K: 4, M: 2, Loss: 0.1, Repair: day, Domains: []int{2, 2, 2}, DomainLoss: 0.01}
	exact, bound := Nines(byDomain(m).lostWithin(1)), Nines(byNumber(m).lostWithin(1))
	if t.Logf("exact %.3f nines, by the bound %.3f", exact, bound); exact-bound > 0.2 {
		t.Errorf("the bound is %v nines below the truth", exact-bound)
	}
}

func TestManyWaysToBeDamagedAreBounded(t *testing.T) {
	m := Model{K: 100, M: 100, Loss: 0.1, Repair: week, DomainLoss: 0.01}
	for size := range 19 {
		m.Domains = append(m.Domains, size+1)
	}
	m.Domains = append(m.Domains, 10)
	if byDomain(m) != nil {
		t.Fatal("so many states were spelled out")
	}
	if p, without := annual(t, m), annual(t, Model{K: 100, M: 100, Loss: 0.1, Repair: week}); !(p > without && p < 1e-10) {
		t.Errorf("got %v, without domains %v", p, without)
	}
}

func TestModelsThatMakeNoSenseAreInvalid(t *testing.T) {
	good := Model{K: 4, M: 2, Loss: 0.1, Repair: day, Domains: []int{2, 2, 2}, DomainLoss: 0.01}
	annual(t, good)
	for what, change := range map[string]func(*Model){
		"no data":             func(m *Model) { m.K = 0 },
		"negative parity":     func(m *Model) { m.M = -1 },
		"too many shards":     func(m *Model) { m.K, m.Domains, m.DomainLoss = 255, nil, 0 },
		"overflow":            func(m *Model) { m.K, m.M = math.MaxInt, math.MaxInt },
		"negative loss":       func(m *Model) { m.Loss = -0.1 },
		"loss that is none":   func(m *Model) { m.Loss = math.NaN() },
		"infinite loss":       func(m *Model) { m.Loss = math.Inf(1) },
		"a loss an hour":      func(m *Model) { m.Loss = 8766 },
		"domain loss none":    func(m *Model) { m.DomainLoss = math.NaN() },
		"negative domains'":   func(m *Model) { m.DomainLoss = -1 },
		"zero value's repair": func(m *Model) { m.Repair = 0 },
		"negative repair":     func(m *Model) { m.Repair = -day },
		"loss of no domains":  func(m *Model) { m.Domains = nil },
		"too few in domains":  func(m *Model) { m.Domains = []int{2, 2} },
		"too many in domains": func(m *Model) { m.Domains = []int{2, 2, 3} },
		"an empty domain":     func(m *Model) { m.Domains = []int{6, 0} },
		"a negative domain":   func(m *Model) { m.Domains = []int{7, -1} },
		"domains overflow":    func(m *Model) { m.Domains = []int{math.MaxInt, math.MaxInt, 8} },
	} {
		m := good
		change(&m)
		if p, err := m.AnnualLoss(); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: loss of %v, %v", what, p, err)
		}
		if years, err := m.MeanLife(); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v years, %v", what, years, err)
		}
	}
}

// Whatever is allowed gives a probability, and a mean life that fits it.
func TestExtremesGiveProbabilities(t *testing.T) {
	for _, code := range [][2]int{{1, 0}, {256, 0}, {1, 255}, {128, 128}, {4, 2}} {
		for _, loss := range []float64{0, 1e-300, 1e-9, 1000} {
			for _, repair := range []time.Duration{1, time.Hour, Never - 1, Never} {
				m := Model{K: code[0], M: code[1], Loss: loss, Repair: repair}
				p, years := annual(t, m), life(t, m)
				if !(p >= 0 && p <= 1 && years > 0) || p > 1/years*(1+1e-9) {
					t.Errorf("%+v: loss of %v, %v years", m, p, years)
				}
				if loss == 0 && (p != 0 || !math.IsInf(years, 1)) {
					t.Errorf("%+v: loss of %v, %v years, want none", m, p, years)
				}
			}
		}
	}
	whole := Model{K: 1, M: 255, Loss: 0.1, Repair: day, Domains: []int{256}, DomainLoss: 0.5}
	if got, want := annual(t, whole), -math.Expm1(-0.5); !near(got, want, 1e-12) {
		t.Errorf("256 shards in one domain: %v, want %v", got, want)
	}
}

func TestAnObjectIsLostWithAnySegment(t *testing.T) {
	for _, tt := range []struct {
		n       int
		p, want float64
	}{
		{1, 0.3, 0.3},
		{2, 0.3, 0.51},
		{3, 0.5, 0.875},
		{1000, 1e-15, 1e-12},
		{1000, 1e-300, 1e-297},
		{1 << 40, 1e-3, 1},
		{0, 0.5, 0}, {-1, 0.5, 0}, {5, 0, 0}, {5, 1, 1}, {0, 1, 0},
	} {
		if got := AnyOf(tt.n, tt.p); !near(got, tt.want, 1e-12) {
			t.Errorf("any of %d with %v: %v, want %v", tt.n, tt.p, got, tt.want)
		}
	}
}

func TestNinesAreNeverMoreThanTwelve(t *testing.T) {
	for _, tt := range []struct{ p, want float64 }{
		{1, 0}, {2, 0}, {math.NaN(), 0}, {math.Inf(1), 0}, {0.1, 1}, {0.01, 2}, {1e-11, 11},
		{1e-12, 12}, {1e-13, 12}, {1e-300, 12}, {0, 12}, {-1, 12},
	} {
		if got := Nines(tt.p); !near(got, tt.want, 1e-15) || math.Signbit(got) {
			t.Errorf("nines of %v: %v, want %v", tt.p, got, tt.want)
		}
	}
}
