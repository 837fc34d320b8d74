//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A short run does all that it says with real nodes, leaves nothing behind, and
// writes what it has measured.
func TestBenchMeasuresRealNodes(t *testing.T) {
	if os.Getenv("TEST_DATAMESH_FULL") != "1" {
		t.Skip("NOT TESTED: a short run of all works with real nodes: set TEST_DATAMESH_FULL=1; it takes minutes")
	}
	dir := t.TempDir()
	file, plots := filepath.Join(dir, "report.json"), filepath.Join(dir, "plots")
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	o := options{dir: store, only: "floors,idle,large,disk,losses,stalled,sizes,small,syncs,many,range,command,backup", runs: 1, size: 5 << 20, small: 20, many: 20, gets: 10, rest: 2 * time.Second, json: file, plots: plots}
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
		maybeNone := slices.Contains([]string{restCores, fromDisk, toDisk, sentKiB, calls}, f.Unit)
		if len(f.Runs) == 0 || slices.Min(f.Runs) < 0 || slices.Min(f.Runs) == 0 && !maybeNone {
			t.Errorf("%s of %s: %v %s", f.Work, f.By, f.Runs, f.Unit)
		}
	}
	for _, want := range []string{largePut, largeGet, lossy(0), lossy(1), lostGet, stoppedGet, allNodes, healthyGet, stalledGet, sized("put", 1<<20), smallPut, smallGet, manyPuts, manyList, rangeAgain, rangeCrowd, onePut, backupSame, restored} {
		if !slices.ContainsFunc(r.Figures, func(f *Figure) bool { return f.Work == want && f.By == datameshIt }) {
			t.Errorf("nothing was measured of %q", want)
		}
	}
	traced := func(f *Figure) bool { return (f.Work == tracedPut || f.Work == tracedDisk) && f.By == aNode }
	if _, err := exec.LookPath(tracing); err == nil && !slices.ContainsFunc(r.Figures, traced) {
		t.Error("no syncs were counted")
	}
	if len(r.Works) != 13 || slices.ContainsFunc(r.Works, func(d Done) bool { return d.Error != "" || d.Seconds <= 0 || d.Others < 0 || d.Others > 1 }) {
		t.Errorf("the works are %+v", r.Works)
	}
	onDisk := func(f *Figure) bool { return f.Work == diskGet && f.By == copyFile }
	if r.Disk == nil && !r.Store.inMemory() || r.Disk != nil && !slices.ContainsFunc(r.Figures, onDisk) {
		t.Errorf("of the disk there is %+v, in a store of %+v", r.Disk, r.Store)
	}
	if !slices.ContainsFunc(r.Goals, func(g Goal) bool { return g.Work == onePut && g.Most == 50 && g.Value > 0 && g.Met == (g.Value <= 50) }) {
		t.Errorf("the goals are %+v", r.Goals)
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
		{options{runs: 1, size: 1 << 20, rest: time.Minute}, []string{"x"}, `unknown argument "x"`},
		{options{runs: 1, size: 1 << 20}, nil, "-small 0"},
		{options{runs: 1, size: 1 << 20, small: 1}, nil, "-many 0"},
		{options{runs: 1, size: 1 << 20, small: 1, many: 10}, nil, "-gets 0"},
		{options{runs: 1, size: 1 << 20, small: 1, many: 10, gets: 10}, nil, "-rest 0s"},
		{options{runs: 1, size: 1 << 20, rest: time.Minute, small: 1, many: 10, gets: 10, dir: "/nowhere"}, nil, "/nowhere"},
		{options{runs: 1, size: 1 << 20, rest: time.Minute, small: 1, many: 10, gets: 10, exe: "/bin/true", disk: "/nowhere", only: "disk"}, nil, "/nowhere"},
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
	r.add(tracedDisk, aNode, synced, 0.1, 0.2, 0.4)
	r.add(largePut, minio, speed, 50, 100, 100)
	r.add(backupNew, datameshIt, speed, 90)
	r.add(backupNew, restic, speed, 100)
	r.add(manyPuts, datameshIt, objects, 20_000)
	r.add(manyList, datameshIt, duration, 0.5)
	r.notMeasured(kubo, "there is no ipfs")
	r.judge()
	want := []Goal{
		{Work: largePut, What: "MB/s of floor over TLS, at least 0.5", Least: 0.5, Value: 0.4, Lowest: 0.2, Highest: 0.6},
		{Work: largePut, What: "core-s/GB, at most 10", Most: 10, Value: 12, Lowest: 12, Highest: 12},
		{Work: largePut, What: "MB/s of minio, at least 1.7", Least: 1.7, Value: 2, Lowest: 2, Highest: 3, Met: true},
		{Work: tracedDisk, What: "syncs for each object of a node, the most, at most 0.3", Most: 0.3, Value: 0.4, Lowest: 0.1, Highest: 0.4},
		{Work: backupNew, What: "MB/s of restic", Value: 0.9, Lowest: 0.9, Highest: 0.9, Met: true},
	}
	measured := slices.DeleteFunc(slices.Clone(r.Goals), func(g Goal) bool { return g.Missing != "" })
	if diff := cmp.Diff(want, measured); diff != "" {
		t.Errorf("the goals (-want +got):\n%s", diff)
	}
	if all := len(goals) + len(scaleGoals()); len(r.Goals) != all {
		t.Errorf("got %d of %d goals", len(r.Goals), all)
	}
	for _, want := range []Goal{
		{Work: manyList, What: "s, at most 1", Most: 1, Missing: "it needs objects, at least 100000; there were 20000"},
		{Work: largeGet, What: "MB/s of kubo, at least 4", Least: 4, Missing: "there is no ipfs"},
		{Work: onePut, What: "ms, at most 50", Most: 50, Missing: "no work has measured it"},
	} {
		if !slices.Contains(r.Goals, want) {
			t.Errorf("there is no %+v in %+v", want, r.Goals)
		}
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{"200", "100 to 300 in 3 runs", "0.2 to 0.6", "NOT MET", "NOT MEASURED: there is no ipfs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it prints no %q:\n%s", want, &out)
		}
	}
}

func TestTracedSyncsAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	const trace = `7 1795731484.703553 fsync(9) = 0
7 1795731485.100000 fdatasync(9 <unfinished ...>
8 1795731485.200000 fsync(4) = 0
7 1795731485.300000 <... fdatasync resumed>) = 0
8 1795731486.500000 +++ exited with 0 +++
7 1795731487.000000 fsync(9) = 0
`
	if err := os.WriteFile(file, []byte(trace), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := countTraced(file, time.Unix(1795731485, 0), time.Unix(1795731487, 0)); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2", n, err)
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
	if got := percentile([]float64{4, 1, 3, 2}, 99); got != 4 {
		t.Errorf("99 %% are at most %v, want 4", got)
	}
}
