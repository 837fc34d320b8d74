//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A short run does all that it says with real nodes, leaves nothing behind, and
// writes what it has measured.
func TestBenchMeasuresRealNodes(t *testing.T) {
	dir := t.TempDir()
	file, plots := filepath.Join(dir, "report.json"), filepath.Join(dir, "plots")
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	o := options{dir: store, only: "floors,large,losses,command,memory", runs: 1, size: 5 << 20, json: file, plots: plots}
	if err := bench(t.Context(), o, nil); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(store); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Figures {
		if f.Median <= 0 || len(f.Runs) == 0 || slices.Min(f.Runs) <= 0 {
			t.Errorf("%s of %s: %v %s", f.Work, f.By, f.Runs, f.Unit)
		}
	}
	for _, want := range []string{largePut, largeGet, lossy(0), lossy(1), lostGet, onePut} {
		if !slices.ContainsFunc(r.Figures, func(f *Figure) bool { return f.Work == want && f.By == datameshIt }) {
			t.Errorf("nothing was measured of %q", want)
		}
	}
	svg, err := os.ReadFile(filepath.Join(plots, "losses.svg"))
	if err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("the plot is %.40q, %v", svg, err)
	}
}

func TestBenchRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		o    options
		args []string
		want string
	}{
		{options{runs: 1, size: 1 << 20, only: "large,nothing"}, nil, `there is no work "nothing"`},
		{options{runs: 0, size: 1 << 20}, nil, "-runs 0"},
		{options{runs: 1, size: 1}, nil, "-size 1"},
		{options{runs: 1, size: 1 << 20}, []string{"x"}, `unknown argument "x"`},
		{options{runs: 1, size: 1 << 20, dir: "/nowhere"}, nil, "/nowhere"},
	} {
		if err := bench(t.Context(), c.o, c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

func TestGoalsAreRatiosOrBounds(t *testing.T) {
	r := &Report{}
	r.add(largePut, datameshIt, speed, 100, 300, 200)
	r.add(largePut, floorTLS, speed, 500)
	r.add(largePut, datameshIt, effort, 12)
	for _, c := range []struct {
		unit  string
		value float64
		met   bool
	}{{speed, 0.4, false}, {effort, 12, false}} {
		for _, g := range goals {
			value, ok := g.value(r)
			if g.work == largePut && g.unit == c.unit && ok && (value != c.value || g.met(value) != c.met) {
				t.Errorf("%s: %v, met %v, want %v, %v", g, value, g.met(value), c.value, c.met)
			}
		}
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{"200", "100 to 300 in 3 runs", "0.4", "NOT MET"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it prints no %q:\n%s", want, &out)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.of); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.of, got, c.want)
		}
	}
}
