//go:build linux

package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // the format of files whose names end so
)

// The size of a plot.
const (
	plotWidth  = 16 * vg.Centimeter
	plotHeight = 9 * vg.Centimeter
)

// curves are the colours of the lines of a plot, in their order.
var curves = []color.RGBA{{0x1f, 0x77, 0xb4, 0xff}, {0xd6, 0x27, 0x28, 0xff}, {0x2c, 0xa0, 0x2c, 0xff}, {0xff, 0x7f, 0x0e, 0xff}, {0x94, 0x67, 0xbd, 0xff}}

// plot draws what was measured into files of a directory: how throughput goes with
// the size of objects, and with how many of their holders are dead.
func (r *Report) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	size := r.newPlot("size of an object in KiB", "MB/s")
	size.X.Scale, size.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	size.Y.Scale, size.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var put, get plotter.XYs
	for _, n := range sizes {
		put = r.point(put, float64(n)/(1<<10), sized("put", n))
		get = r.point(get, float64(n)/(1<<10), sized("get", n))
	}
	if err := draw(size, filepath.Join(dir, "size.svg"), []string{"put", "get"}, put, get); err != nil {
		return err
	}
	if err := r.plotWide(dir); err != nil {
		return err
	}
	losses := r.newPlot("holders that have just died", "MB/s")
	losses.Y.Min = 0
	var lost plotter.XYs
	for n := range mostDead + 1 {
		lost = r.point(lost, float64(n), lossy(n))
	}
	if err := draw(losses, filepath.Join(dir, "losses.svg"), []string{"get"}, lost); err != nil {
		return err
	}
	return r.plotScale(dir)
}

func (r *Report) newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Title.Text = fmt.Sprintf("%s, %d cores, %s", r.Machine.CPU, r.Machine.Cores, r.Store.Filesystem)
	p.Add(plotter.NewGrid())
	return p
}

// point adds the throughput of a work, if it was measured.
func (r *Report) point(line plotter.XYs, x float64, work string) plotter.XYs {
	if f := r.figure(work, datameshIt, speed); f != nil {
		line = append(line, plotter.XY{X: x, Y: f.Median})
	}
	return line
}

// draw writes a plot of lines that have names. Without any point there is none.
func draw(p *plot.Plot, file string, names []string, lines ...plotter.XYs) error {
	for i, xys := range lines {
		if len(xys) == 0 {
			return nil
		}
		line, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return fmt.Errorf("plot %s: %w", file, err)
		}
		line.Color, points.Color = curves[i%len(curves)], curves[i%len(curves)]
		p.Add(line, points)
		p.Legend.Add(names[i], line, points)
	}
	if err := p.Save(plotWidth, plotHeight, file); err != nil {
		return fmt.Errorf("plot %s: %w", file, err)
	}
	return nil
}
