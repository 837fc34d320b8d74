package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/metrics"
)

func TestWatchPrintsWhatHasChanged(t *testing.T) {
	sample := func(name string, value float64) metrics.Sample {
		return metrics.Sample{Name: name, Type: "counter", Labels: map[string]string{"operation": "put"}, Value: value}
	}
	last := map[string]float64{}
	changes(last, []metrics.Sample{sample("datamesh_a_total", 1), sample("datamesh_b_total", 2)}, 1)
	var out bytes.Buffer
	c := &cli{out: &out, json: true}
	for i, values := range [][]metrics.Sample{
		{sample("datamesh_a_total", 1), sample("datamesh_b_total", 5), sample("datamesh_c_bucket", 1), sample("go_goroutines", 9)},
		{sample("datamesh_a_total", 1), sample("datamesh_b_total", 5)},
		{sample("datamesh_a_total", 0), sample("datamesh_b_total", 5), sample("datamesh_d_total", 4)},
	} {
		l := look{Time: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Seconds: 2, Changes: changes(last, values, 2)}
		if err := c.printLook(l); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics_watch.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
