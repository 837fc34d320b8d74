//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"datamesh/internal/sim"
)

// scaleNodes are the sizes of the meshes that are simulated, and by how many machines of
// the ring.
var scaleNodes = []struct{ nodes, machines int }{{10, 10}, {100, 100}, {1000, 100}, {10000, 40}}

// capacities are those of members in turn, when it is looked how full they get.
var capacities = []int64{1, 2, 4, 8, 16, 32, 64, 100}

// The figures of a mesh of some size.
const (
	putRequests = "requests of a put"
	putBytes    = "kB of a put"
	getRequests = "requests of a get"
	getBytes    = "kB of a get"
	restCalls   = "calls of the ring by each in an hour at rest"
	restBytes   = "B/s sent at rest"
	restRing    = "B/s sent at rest: the ring"
	restConns   = "B/s sent at rest: connections"
	restAudits  = "B/s sent at rest: audits and inventories"
	restLook    = "B/s sent at rest: Kademlia, on paper"
	joinBytes   = "kB sent by each when one joins"
	joinerBytes = "kB to and from the one that joins"
	deathBytes  = "kB sent by each when one dies"
	deathTime   = "s until all know of a death"
	tableBytes  = "kB of memory of the table"
	balance     = "fullest over the mean"

	exponent     = "exponent of the number of nodes"
	exponentFrom = "exponent of the number of nodes, from 100 on"
)

func meshOf(nodes int) string { return fmt.Sprintf("mesh of %d nodes", nodes) }

// measureScale counts what meshes of several sizes cost: see package sim.
func measureScale(ctx context.Context, l *lab) error {
	for _, n := range scaleNodes {
		s := sim.Scale{Seed: 1, Nodes: n.nodes, Machines: n.machines, Rest: 10 * time.Minute, Events: 2, Objects: 10, Size: 1 << 20}
		fmt.Fprintf(os.Stderr, "  %d nodes …\n", n.nodes)
		c, err := s.Run(ctx)
		if err != nil {
			return err
		}
		rest := c.AtRest()
		filled := make(chan float64, 1) // which takes minutes for the largest
		go func() {
			fullest, mean := sim.Balance(1, n.nodes, 0, capacities)
			filled <- fullest / mean
		}()
		var fill float64
		select {
		case fill = <-filled:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, f := range []struct {
			unit  string
			value float64
		}{
			{putRequests, c.Put.Requests}, {putBytes, c.Put.Bytes / 1e3}, {getRequests, c.Get.Requests}, {getBytes, c.Get.Bytes / 1e3},
			{restCalls, c.Ring.Calls * 3600}, {restBytes, rest.Sum()}, {restRing, rest.Ring}, {restConns, rest.Conns}, {restAudits, rest.Audits + rest.Inventory}, {restLook, rest.Look},
			{joinBytes, c.Ring.Join / 1e3}, {joinerBytes, c.Ring.Joiner / 1e3}, {deathBytes, c.Ring.Death / 1e3},
			{tableBytes, c.Table * float64(n.nodes) / 1e3}, {balance, fill}, {deathTime, c.Ring.Dead.Seconds()},
		} {
			if f.value > 0 { // else it is not known, or lost in what goes on at rest
				l.report.add(meshOf(n.nodes), datameshIt, f.unit, f.value)
			}
		}
	}
	for _, unit := range []string{putRequests, putBytes, getRequests, getBytes, restBytes, joinBytes, joinerBytes, deathBytes, tableBytes} {
		all := l.report.overNodes(unit)
		some := slices.DeleteFunc(slices.Clone(all), func(p plotter.XY) bool { return p.X < 100 })
		for _, line := range []struct {
			name   string
			points plotter.XYs
		}{{exponent, all}, {exponentFrom, some}} {
			if len(line.points) > 1 {
				l.report.add(unit, datameshIt, line.name, slope(line.points))
			}
		}
	}
	return nil
}

// overNodes returns a figure by the size of the mesh.
func (r *Report) overNodes(unit string) (line plotter.XYs) {
	for _, n := range scaleNodes {
		if f := r.figure(meshOf(n.nodes), datameshIt, unit); f != nil {
			line = append(line, plotter.XY{X: float64(n.nodes), Y: f.Median})
		}
	}
	return line
}

// slope returns that of the line through two points or more, by least squares, where both axes are
// logarithmic.
func slope(points plotter.XYs) float64 {
	var x, y, xx, xy float64
	for _, p := range points {
		lx, ly := math.Log(p.X), math.Log(p.Y)
		x, y, xx, xy = x+lx, y+ly, xx+lx*lx, xy+lx*ly
	}
	n := float64(len(points))
	return (n*xy - x*y) / (n*xx - x*x)
}

// plotScale draws what was counted of meshes of several sizes.
func (r *Report) plotScale(dir string) error {
	for _, p := range []struct {
		file, y string
		units   []string
	}{
		{"scale-objects.svg", "requests, kB", []string{putRequests, getRequests, putBytes, getBytes}},
		{"scale-rest.svg", "B/s that a node sends at rest", []string{restBytes, restRing, restConns, restAudits, restLook}},
		{"scale-members.svg", "kB", []string{joinBytes, deathBytes, joinerBytes, tableBytes}},
	} {
		q := plot.New()
		q.X.Label.Text, q.Y.Label.Text = "nodes", p.y
		q.X.Scale, q.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		q.Y.Scale, q.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		q.Add(plotter.NewGrid())
		q.Legend.TextStyle.Font.Size *= 0.7
		var lines []plotter.XYs
		for _, unit := range p.units {
			lines = append(lines, r.overNodes(unit))
		}
		if err := draw(q, filepath.Join(dir, p.file), p.units, lines...); err != nil {
			return err
		}
	}
	return nil
}

// scaleGoals returns what meshes of all sizes should cost.
func scaleGoals() (list []goal) {
	for _, n := range scaleNodes {
		list = append(list, goal{work: meshOf(n.nodes), by: datameshIt, unit: restBytes, most: 2000})
		if n.nodes > len(capacities)*6 { // else the large ones cannot get more than one shard of each segment
			list = append(list, goal{work: meshOf(n.nodes), by: datameshIt, unit: balance, most: 1.3})
		}
	}
	for _, unit := range []string{putRequests, getRequests} {
		list = append(list, goal{work: unit, by: datameshIt, unit: exponentFrom, most: 0.05})
	}
	return list
}
