package sim

import (
	"context"
	"errors"
	"math"
	"os"
	"testing"
	"time"

	"datamesh/internal/durability"
)

// What the program's placement and plans make of losses is what the model says:
// so many segments are lost, within what chance explains in 95 % of all cases.
func TestModelAgreesWithPlans(t *testing.T) {
	t.Parallel()
	seeds, least := 1, 1
	if os.Getenv("TEST_DATAMESH_NIGHTLY") == "1" {
		seeds, least = 20, 16 // fewer agree in one of 300 cases
	}
	agree, all, losses := 0, 0.0, 0
	for seed := range seeds {
		y := Years{Seed: uint64(seed + 1), Nodes: 300, Segments: 50, K: 4, M: 2, Loss: 1, Repair: 7 * 24 * time.Hour}
		tally, err := y.Run(t.Context(), 3500, nil)
		if err != nil {
			t.Fatal(err)
		}
		life, err := durability.Model{K: y.K, M: y.M, Loss: y.Loss, Repair: y.Repair}.MeanLife()
		if err != nil {
			t.Fatal(err)
		}
		want := tally.Years / life
		off := (float64(tally.Losses) - want) / math.Sqrt(want)
		t.Logf("seed %d: %d losses in %.0f object-years, %.1f expected, %+.2f standard deviations; %+v", y.Seed, tally.Losses, tally.Years, want, off, tally)
		if want < 100 || tally.Uneven > 0 {
			t.Errorf("seed %d: %.1f losses are expected; %d repairs left a segment that survives less than it could", y.Seed, want, tally.Uneven)
		}
		if math.Abs(off) <= 1.96 {
			agree++
		}
		all, losses = all+want, losses+tally.Losses
	}
	t.Logf("%d of %d seeds agree; %d losses in all, %.1f expected", agree, seeds, losses, all)
	if agree < least || math.Abs(float64(losses)-all) > 1.96*math.Sqrt(all) {
		t.Errorf("of %d seeds %d agree; %d losses in all, %.1f expected", seeds, agree, losses, all)
	}
}

// Half of all nodes are lost a year, and nothing else.
func TestNothingIsLostAt8And4(t *testing.T) {
	years := 3000.0
	if os.Getenv("TEST_DATAMESH_NIGHTLY") == "1" {
		years = 200_000
	}
	y := Years{Seed: 2, Nodes: 40, Segments: 200, K: 8, M: 4, Loss: math.Ln2, Repair: time.Hour}
	tally, err := y.Run(t.Context(), years, nil)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := durability.Demonstrated(tally.Losses, tally.Years)
	if err != nil {
		t.Fatal(err)
	}
	p, err := durability.Model{K: y.K, M: y.M, Loss: y.Loss, Repair: y.Repair}.AnnualLoss()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %+v: %.2f nines demonstrated, %.2f modelled", y.Seed, tally, shown, durability.Nines(p))
	if tally.Losses > 0 || tally.Uneven > 0 {
		t.Errorf("seed %d: %d segments were lost, %d repairs left one that survives less than it could", y.Seed, tally.Losses, tally.Uneven)
	}
}

// Years that are interrupted end early, after they have told how far they are.
func TestYearsEndEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	last := -1.0
	y := Years{Seed: 1, Nodes: 20, Segments: 20, K: 2, M: 1, Loss: 1, Repair: time.Hour}
	_, err := y.Run(ctx, 1000, func(years float64) {
		if years < last || years > 1000 {
			t.Errorf("after %v years it tells of %v", last, years)
		}
		if last = years; years > 300 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || last < 300 || last > 600 {
		t.Errorf("it ends after %v years of 1000: %v", last, err)
	}
}
