package durability

import (
	"errors"
	"math"
	"testing"
	"time"

	"datamesh/internal/errs"
)

// chiSquare has 95 % quantiles by degrees of freedom, as printed tables have
// them (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4).
var chiSquare = map[int]float64{2: 5.991, 4: 9.488, 6: 12.592, 8: 15.507, 10: 18.307, 20: 31.410, 30: 43.773,
	40: 55.758, 50: 67.505, 60: 79.082, 70: 90.531, 80: 101.879, 90: 113.145, 100: 124.342}

func TestUpperLimitsAreThoseOfTheTable(t *testing.T) {
	for freedom, quantile := range chiSquare {
		if got := 2 * upperLimit(freedom/2-1); math.Abs(got-quantile) > 0.0005000001 {
			t.Errorf("%d degrees of freedom: %.4f, want %.3f", freedom, got, quantile)
		}
	}
	if got := upperLimit(0); !near(got, math.Log(20), 1e-14) {
		t.Errorf("for no losses %v, want %v", got, math.Log(20))
	}
}

// With the upper limit as the mean, as few events as were counted come up in
// one of twenty cases; with fewer on average, more often.
func TestUpperLimitsKeepTheirPromise(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 100, 10_000} {
		u := upperLimit(n)
		probability := 0.0
		for j := range n + 1 {
			factorial, _ := math.Lgamma(float64(j + 1))
			probability += math.Exp(float64(j)*math.Log(u) - u - factorial)
		}
		if !near(probability, 0.05, 1e-9) {
			t.Errorf("%d losses, limit %v: probability %v, want 0.05", n, u, probability)
		}
	}
	// For many it is that of Wilson and Hilferty (1931).
	for _, n := range []int{1e6, 1e9} {
		x := float64(n) + 1
		want := x * math.Pow(1-1/(9*x)+1.6448536269514722/(3*math.Sqrt(x)), 3)
		if got := upperLimit(n); !near(got, want, 1e-8) {
			t.Errorf("%d losses: limit %v, want %v", n, got, want)
		}
	}
}

func TestARateIsObserved(t *testing.T) {
	for _, tt := range []struct {
		losses             int
		years, rate, upper float64
	}{
		{0, 0, 0, math.Inf(1)},
		{0, 10, 0, 0.29957},
		{0, 2.9957, 0, 1},
		{1, 10, 0.1, 0.47439},
		{10, 100, 0.1, 0.16962},
		{3, 0, math.Inf(1), math.Inf(1)},
	} {
		got, err := Observe(tt.losses, tt.years)
		if err != nil || got.Losses != tt.losses || got.Years != tt.years || got.Rate != tt.rate || !near(got.Upper, tt.upper, 1e-4) {
			t.Errorf("%d losses in %v years: %+v, %v", tt.losses, tt.years, got, err)
		}
	}
}

func TestWhatWasNotWatchedDemonstratesNothing(t *testing.T) {
	for _, tt := range []struct {
		losses       int
		years, nines float64
	}{
		{0, 0, 0},
		{0, 1, 0.022206},
		{0, 3000, 3.00084},
		{0, 1e6, 5.52350},
		{1, 1e6, 5.32387},
		{1000, 1e6, 2.97755},
		{1000, 1, 0},
		{0, 1e13, 12},
	} {
		got, err := Demonstrated(tt.losses, tt.years)
		if err != nil || math.Abs(got-tt.nines) > 1e-4 {
			t.Errorf("%d losses in %v years: %.5f nines, %v; want %v", tt.losses, tt.years, got, err, tt.nines)
		}
	}
}

func TestObservationsThatMakeNoSenseAreInvalid(t *testing.T) {
	for _, tt := range []struct {
		losses int
		years  float64
	}{{-1, 1}, {0, -1}, {0, math.NaN()}, {0, math.Inf(1)}, {math.MaxInt, 1}} {
		if got, err := Observe(tt.losses, tt.years); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %+v, %v", tt, got, err)
		}
		if got, err := Demonstrated(tt.losses, tt.years); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v nines, %v", tt, got, err)
		}
	}
}

func TestRepairsHaveAMean(t *testing.T) {
	var r Repairs
	if got := r.Mean(); got != Never {
		t.Errorf("no repairs take %v", got)
	}
	for _, took := range []time.Duration{time.Hour, 3 * time.Hour, -time.Minute, 0, 2 * time.Hour} {
		r.Add(took)
	}
	if got := r.Mean(); r.Count != 4 || got != 90*time.Minute {
		t.Errorf("%d repairs in %v on average, want 4 in 1h30m", r.Count, got)
	}
	long, short := Repairs{}, Repairs{}
	for range 1000 {
		long.Add(Never)
		short.Add(0)
	}
	if got := long.Mean(); got < Never/2 {
		t.Errorf("%v, want about %v", got, Never)
	}
	if got := short.Mean(); got <= 0 {
		t.Errorf("%v, which no model allows", got)
	}
}
