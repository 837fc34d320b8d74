// Package durability says how likely stored data is to be lost within a year:
// as a model of losses and repairs has it, and as what was observed
// demonstrates. All of it is pure calculation.
//
// docs/durability.md has the formulas, their sources, and what they leave out.
package durability

import (
	"math"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A Model is a segment of k+m shards, its holders, and what happens to them.
// Each holder is lost for good at a constant rate, independently of others. A
// repair brings all missing shards back at once, to new holders; how long it
// takes, from the first loss on, is exponentially distributed. When more than
// m shards are missing the segment is lost.
type Model struct {
	K, M   int
	Loss   float64       // of each holder, for good, per year: a rate, which may exceed 1
	Repair time.Duration // on average, from a loss until all shards are there again; or Never

	// Domains says how many of the shards are in each failure domain, such as
	// a host or a site, in any order; all of a domain are lost at the rate
	// DomainLoss besides. Repair keeps these numbers. Where a holder has
	// several shards, it is the domain, and Loss is 0.
	Domains    []int
	DomainLoss float64 // of each domain, per year
}

// Never is the time that repair takes where there is none.
const Never time.Duration = math.MaxInt64

// AnnualLoss returns the probability that the segment, now complete, is lost
// within a year.
//
// It is a sum of positive terms, so that a small probability is as exact as a
// large one: to nine digits and more, down to 1e-250. With Domains that can be
// damaged in more than 4096 different ways it is an upper bound, in which a
// shard that is missing counts once more when its domain is lost.
//
// Kind: Invalid, for a model that makes no sense; a rate of more than 1000 a
// year does not.
func (m Model) AnnualLoss() (float64, error) {
	c, err := m.chain()
	if err != nil {
		return 0, err
	}
	return c.lostWithin(1), nil
}

// MeanLife returns the mean time in years until a segment that is now complete
// is lost (the MTTDL of the literature), or +Inf if it never is. It bounds
// what is lost in t years: no more than t/MeanLife. Kind: Invalid, like
// AnnualLoss, and like there it errs to the safe side with many Domains.
func (m Model) MeanLife() (float64, error) {
	c, err := m.chain()
	if err != nil {
		return 0, err
	}
	return c.meanLife(), nil
}

// AnyOf returns the probability that at least one of n segments is lost, when
// each is with probability p: an object is lost with any of its segments, of
// which its manifest is one. If they share holders it is less.
func AnyOf(n int, p float64) float64 {
	switch {
	case n <= 0 || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	return -math.Expm1(float64(n) * math.Log1p(-p))
}

// MostNines is the most that Nines returns. Beyond it what no model knows, an
// error in the program or a mistake of its user, is likelier than what one
// does.
const MostNines = 12

// Nines returns -log10 of a probability of loss, from 0 to MostNines: 3 for
// one in a thousand. Round it down to print it.
func Nines(p float64) float64 {
	switch {
	case !(p < 1): // or no number
		return 0
	case p <= 1e-12:
		return MostNines
	}
	return -math.Log10(p)
}

// most is the largest rate, per year: a holder that lasts for less than nine
// hours is none.
const most = 1000

func (m Model) validate() error {
	if !datamesh.ValidCode(m.K, m.M) {
		return errs.New(errs.Invalid, "no code %d+%d", m.K, m.M)
	}
	for _, rate := range []float64{m.Loss, m.DomainLoss} {
		if !(rate >= 0 && rate <= most) {
			return errs.New(errs.Invalid, "a rate of loss from 0 to %d a year, not %v", most, rate)
		}
	}
	if m.Repair <= 0 {
		return errs.New(errs.Invalid, "repair takes time, not %v", m.Repair)
	}
	if len(m.Domains) == 0 && m.DomainLoss != 0 {
		return errs.New(errs.Invalid, "no domains that could be lost")
	}
	shards := 0
	for _, size := range m.Domains {
		if size < 1 || size > datamesh.MaxShards {
			return errs.New(errs.Invalid, "a domain of %d shards", size)
		}
		shards += size
	}
	if len(m.Domains) > 0 && shards != m.K+m.M {
		return errs.New(errs.Invalid, "%d shards in domains, of %d", shards, m.K+m.M)
	}
	return nil
}

// year is the Julian year of astronomers.
const year = 8766 * time.Hour

// repairs returns how many repairs there would be in a year, one after another.
func (m Model) repairs() float64 {
	if m.Repair == Never {
		return 0
	}
	return float64(year) / float64(m.Repair)
}

func (m Model) chain() (*chain, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	if len(m.Domains) > 0 && m.DomainLoss > 0 {
		if c := byDomain(m); c != nil {
			return c, nil
		}
	}
	return byNumber(m), nil
}
