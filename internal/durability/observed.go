package durability

import (
	"math"
	"time"

	"datamesh/internal/errs"
)

// Observed is a rate of losses that was counted.
type Observed struct {
	Losses int
	Years  float64 // watched in all: of ten members for half a year 5
	Rate   float64 // per year, as it was
	Upper  float64 // with 95 % confidence the true rate is not more; +Inf for 0 years
}

// Observe returns the rate at which something is lost, such as members for
// good, of which so many were lost in so many years of all of them together.
// Kind: Invalid.
func Observe(losses int, years float64) (Observed, error) {
	if losses < 0 || losses > mostLosses || !(years >= 0) || math.IsInf(years, 1) {
		return Observed{}, errs.New(errs.Invalid, "%d losses in %v years", losses, years)
	}
	o := Observed{Losses: losses, Years: years, Upper: upperLimit(losses) / years}
	if losses > 0 {
		o.Rate = float64(losses) / years
	}
	return o, nil
}

// Demonstrated returns the nines that are shown by so many lost objects in so
// many years of all objects together: with 95 % confidence an object was not
// likelier to be lost within a year. Kind: Invalid.
func Demonstrated(losses int, objectYears float64) (float64, error) {
	o, err := Observe(losses, objectYears)
	if err != nil {
		return 0, err
	}
	return Nines(-math.Expm1(-o.Upper)), nil
}

// doubt is the probability that more is lost than an upper limit says.
const doubt = 0.05

// mostLosses bounds the terms of atMost.
const mostLosses = 1e9

// upperLimit returns how many events there are on average, at most, if n were
// counted (Garwood 1936): with more, so few would come up in less than 5 % of
// all cases. It is half the 95 % quantile of chi-square with 2n+2 degrees of
// freedom; for n = 0, -ln 0.05, "the rule of three".
func upperLimit(n int) float64 {
	low, width := float64(n), 4.0
	for atMost(n, low+width) > doubt {
		low, width = low+width, 2*width
	}
	high := low + width
	for {
		middle := low + (high-low)/2
		if middle <= low || middle >= high {
			return high
		}
		if atMost(n, middle) > doubt {
			low = middle
		} else {
			high = middle
		}
	}
}

// atMost returns the probability that a Poisson variable of mean u, which is
// more than n, is at most n. Its terms are positive and fall from the n-th
// down, so they are added from there until they no longer count.
func atMost(n int, u float64) float64 {
	total, term := 0.0, 1.0
	for j := n; j >= 0 && term > total*1e-17; j-- {
		total += term
		term *= float64(j) / u
	}
	x := float64(n)
	factorial, _ := math.Lgamma(x + 1)
	return total * math.Exp(x*math.Log(u)-u-factorial)
}

// Repairs are the times that repairs took.
type Repairs struct {
	Count int
	Hours float64 // of all together
}

// Add counts a repair. A negative time, of a clock that was set back, is not
// counted.
func (r *Repairs) Add(took time.Duration) {
	if took >= 0 {
		r.Count++
		r.Hours += took.Hours()
	}
}

// Mean returns the mean time, or Never if no repair was seen: none is known to
// work.
func (r Repairs) Mean() time.Duration {
	mean := r.Hours / float64(r.Count) * float64(time.Hour)
	if r.Count <= 0 || mean >= float64(Never) {
		return Never
	}
	return max(1, time.Duration(mean))
}
