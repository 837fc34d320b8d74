package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
	"datamesh/internal/durability"
	"datamesh/internal/errs"
	"datamesh/internal/sim"
)

const (
	simulatedObjects = 200     // of one segment each
	mostNodes        = 10_000  // of a simulation
	mostLoss         = 99.9    // percent of the nodes in a year
	mostYears        = 1000000 // of all objects together
)

// simulated is the document of simulate --json.
type simulated struct {
	Nodes         int     `json:"nodes"`
	Objects       int     `json:"objects"`
	Code          string  `json:"code"`
	LossPercent   float64 `json:"loss_percent"`
	RepairSeconds float64 `json:"repair_seconds"`
	Seed          uint64  `json:"seed"`

	Years     float64 `json:"object_years"`
	NodesLost int     `json:"nodes_lost"`
	Lost      int     `json:"objects_lost"`
	Expected  float64 `json:"objects_lost_expected"`
	Repairs   int     `json:"repairs"`
	Read      int     `json:"shards_read"`
	Written   int     `json:"shards_written"`
	Moved     float64 `json:"bytes_moved_per_byte_and_year"`

	Demonstrated float64 `json:"nines_demonstrated"`
	Modelled     float64 `json:"nines_modelled"`
}

func (c *cli) simulateCommand() *cobra.Command {
	y := sim.Years{Segments: simulatedObjects}
	var nodes, years uint32
	var loss, repair, code string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "play years of losses and repairs, and count what is lost",
		Long: `Plays what becomes of objects on nodes that are lost for good now and then, with
the placement and the repair plans of this program, and counts how many objects
are lost. Beside that stands what the model in docs/durability.md expects. The
same seed gives the same result. No node is started, and no home is used.

Nodes are lost independently of each other, and each is replaced by an empty one
at once. What is missing of an object comes back all together, after a time that
is exponentially distributed: some 16 minutes with the defaults of a mesh.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	flags := cmd.Flags()
	flags.Uint32Var(&nodes, "nodes", 100, "`N` nodes")
	flags.Uint32Var(&years, "years", 20_000, "`YEARS` of all objects together")
	flags.StringVar(&loss, "loss", "10%", "`PERCENT` of the nodes that are lost for good in a year")
	flags.StringVar(&repair, "repair", "24h", "`TIME` from a loss until all is there again, on average, such as 16m")
	flags.StringVar(&code, "code", "4+2", "`K+M`: any K of K+M shards suffice")
	flags.Uint64Var(&y.Seed, "seed", 1, "`SEED` of all that chance decides")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"code": completeCodes})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		percent, err := parsePercent(loss)
		if err != nil {
			return err
		}
		coded, err := config.ParseCode(code)
		if err != nil {
			return errs.WithHint(err, "datamesh simulate --code 4+2")
		}
		y.Nodes, y.K, y.M, y.Loss = int(nodes), coded.K, coded.M, -math.Log1p(-percent/100)
		if y.Repair, err = time.ParseDuration(repair); err != nil {
			return errs.WithHint(errs.New(errs.Invalid, "--repair: %q is no time", repair), "give a time such as 16m or 24h")
		}
		if err := checkSimulation(y, years); err != nil {
			return err
		}
		return c.simulate(cmd.Context(), y, float64(years), percent)
	}
	return cmd
}

// parsePercent reads a share such as 10% or 0.5. Kind: Invalid.
func parsePercent(s string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(p > 0 && p <= mostLoss) {
		return 0, errs.WithHint(errs.New(errs.Invalid, "--loss: %q is not a share of the nodes", s), "give a percentage above 0 and up to %v, such as 10%%", mostLoss)
	}
	return p, nil
}

// checkSimulation refuses what cannot be played. Kind: Invalid.
func checkSimulation(y sim.Years, years uint32) error {
	switch n := y.K + y.M; {
	case y.Nodes < n:
		return errs.WithHint(errs.New(errs.Invalid, "%d nodes are too few for a shard each of %d+%d", y.Nodes, y.K, y.M), "datamesh simulate --code %d+%d --nodes %d", y.K, y.M, n)
	case y.Nodes > mostNodes:
		return errs.WithHint(errs.New(errs.Invalid, "%d nodes are too many", y.Nodes), "datamesh simulate --nodes %d is the most; a larger mesh loses no more of an object", mostNodes)
	case years < 1 || years > mostYears:
		return errs.WithHint(errs.New(errs.Invalid, "%d object-years cannot be played", years), "give from 1 to %d", mostYears)
	case y.Repair < time.Second || y.Repair > 8766*time.Hour:
		return errs.WithHint(errs.New(errs.Invalid, "--repair: %v is not from a second to a year", y.Repair), "give a time such as 16m or 24h")
	}
	return nil
}

func (c *cli) simulate(ctx context.Context, y sim.Years, years, percent float64) error {
	model := durability.Model{K: y.K, M: y.M, Loss: y.Loss, Repair: y.Repair}
	annual, err := model.AnnualLoss()
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	life, err := model.MeanLife()
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	p := &player{years: years, out: c.err}
	stop := c.tell(ctx, p)
	t, err := y.Run(ctx, years, p.played)
	stop()
	if err != nil {
		return err
	}
	shown, err := durability.Demonstrated(t.Losses, t.Years)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	s := simulated{Nodes: y.Nodes, Objects: y.Segments, Code: config.Code{K: y.K, M: y.M}.String(), LossPercent: percent,
		RepairSeconds: y.Repair.Seconds(), Seed: y.Seed, Years: t.Years, NodesLost: t.Deaths, Lost: t.Losses, Expected: t.Years / life,
		Repairs: t.Repairs, Read: y.K * t.Repairs, Written: t.Shards, Moved: float64(t.Moved(y.K)) / float64(y.K) / t.Years,
		Demonstrated: downTo(shown), Modelled: downTo(durability.Nines(annual))}
	return c.print(s, func(w io.Writer) { simulatedText(w, s) })
}

// downTo rounds nines down to one digit after the point.
func downTo(nines float64) float64 { return math.Floor(nines*10) / 10 }

func simulatedText(w io.Writer, s simulated) {
	row(w, "played", fmt.Sprintf("%.0f years of all %d objects of %s together, on %d nodes", s.Years, s.Objects, s.Code, s.Nodes))
	row(w, "nodes lost", s.NodesLost)
	row(w, "objects lost", fmt.Sprintf("%d; the model expects %.3g", s.Lost, s.Expected))
	row(w, "repairs", fmt.Sprintf("%d, of %s", s.Repairs, count(s.Written, "shard")))
	row(w, "moved", fmt.Sprintf("%s; %.2f bytes a year for each byte that is stored", count(s.Read+s.Written, "shard"), s.Moved))
	row(w, "nines", fmt.Sprintf("%.1f demonstrated, %.1f modelled", s.Demonstrated, s.Modelled))
}

// A player shows how far a simulation is.
type player struct {
	years float64
	done  atomic.Uint64 // years, as bits
	out   io.Writer
	bar   *share // nil until there is something to show
}

func (p *player) played(years float64) { p.done.Store(math.Float64bits(years)) }

// percent returns how much is done.
func (p *player) percent() int64 { return int64(100 * math.Float64frombits(p.done.Load()) / p.years) }

func (p *player) line(context.Context) {
	out := p.out
	if p.bar != nil {
		out = p.bar
	}
	fmt.Fprintf(out, "simulate: %d %% of %.0f object-years\n", p.percent(), p.years)
}

func (p *player) draw(context.Context) {
	if p.bar == nil {
		p.bar = newShare(p.out, "played")
	}
	p.bar.set(p.percent())
}

func (p *player) close() {
	if p.bar != nil {
		p.bar.close()
	}
}
