package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// values returns the samples of m by their series.
func values(t *testing.T, m *Metrics, s State) map[string]float64 {
	t.Helper()
	samples, err := m.Gather(s)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, s := range samples {
		if _, twice := all[s.Series()]; twice {
			t.Errorf("%s is there twice", s.Series())
		}
		all[s.Series()] = s.Value
	}
	return all
}

// moved runs do and returns what it changed among the metrics of the program.
func moved(t *testing.T, m *Metrics, do func()) map[string]float64 {
	t.Helper()
	before := values(t, m, State{})
	do()
	diff := map[string]float64{}
	for series, value := range values(t, m, State{}) {
		if value != before[series] && strings.HasPrefix(series, "datamesh_") && !strings.Contains(series, "_seconds") {
			diff[series] = value - before[series]
		}
	}
	return diff
}

func TestCountedStoreConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) datamesh.ShardStore { return New().Shards(Local, store.NewMemory(128<<20)) })
}

func TestOperationsOfStoresAreCounted(t *testing.T) {
	m := New()
	s := storetest.Segment(t, 1, 2, 1, 1000)
	key := s.Key(0)
	shards := m.Shards(Local, store.NewMemory(700)) // room for one
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func() error
		want map[string]float64
	}{
		{"put", func() error { return shards.Put(ctx, s.Descriptor, 0, s.Bytes[0]) }, map[string]float64{
			`datamesh_shard_operations_total{operation="put",result="ok",store="local"}`: 1,
			`datamesh_shard_bytes_total{operation="put",store="local"}`:                  500}},
		{"refused put", func() error { return shards.Put(ctx, s.Descriptor, 1, s.Bytes[1]) }, map[string]float64{
			`datamesh_shard_operations_total{operation="put",result="Full",store="local"}`: 1}},
		{"get", func() error { _, _, err := shards.Get(ctx, key, nil); return err }, map[string]float64{
			`datamesh_shard_operations_total{operation="get",result="ok",store="local"}`: 1,
			`datamesh_shard_bytes_total{operation="get",store="local"}`:                  500}},
		{"get of what is not there", func() error { _, _, err := shards.Get(ctx, datamesh.ShardKey{}, nil); return err }, map[string]float64{
			`datamesh_shard_operations_total{operation="get",result="FileNotFound",store="local"}`: 1}},
		{"range", func() error { _, _, err := shards.GetRange(ctx, key, 0, 10); return err }, map[string]float64{
			`datamesh_shard_operations_total{operation="range",result="ok",store="local"}`: 1,
			`datamesh_shard_bytes_total{operation="get",store="local"}`:                    10}},
		{"has", func() error { _, err := shards.Has(ctx, []datamesh.ShardKey{key}); return err }, map[string]float64{
			`datamesh_shard_operations_total{operation="has",result="ok",store="local"}`: 1}},
		{"list", func() error { _, err := shards.List(ctx, datamesh.First, 10); return err }, map[string]float64{
			`datamesh_shard_operations_total{operation="list",result="ok",store="local"}`: 1}},
		{"drop", func() error { return shards.Drop(ctx, s.Deletion(1)) }, map[string]float64{
			`datamesh_shard_operations_total{operation="drop",result="ok",store="local"}`: 1}},
		{"cancelled get", func() error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, _, err := shards.Get(ctx, key, nil)
			return err
		}, map[string]float64{`datamesh_shard_operations_total{operation="get",result="canceled",store="local"}`: 1}},
	} {
		var err error
		if diff := cmp.Diff(c.want, moved(t, m, func() { err = c.do() })); diff != "" {
			t.Errorf("%s (%v) (-want +got):\n%s", c.name, err, diff)
		}
	}
	if n := values(t, m, State{})[`datamesh_shard_operation_seconds_count{operation="put",store="local"}`]; n != 2 {
		t.Errorf("the times of %v puts are counted, want 2", n)
	}
}

func TestEventsAreCounted(t *testing.T) {
	m := New()
	for _, c := range []struct {
		name string
		do   func()
		want map[string]float64
	}{
		{"put", func() { m.PutEnded(7, time.Second, nil) }, map[string]float64{
			`datamesh_object_operations_total{operation="put",result="ok"}`: 1,
			`datamesh_object_bytes_total{operation="put"}`:                  7}},
		{"failed get", func() { m.GetEnded(7, time.Second, errs.New(errs.Unavailable, "x")) }, map[string]float64{
			`datamesh_object_operations_total{operation="get",result="Unavailable"}`: 1}},
		{"late shard", m.LateShard, map[string]float64{`datamesh_late_shards_total`: 1}},
		{"bad shard", func() { m.BadShard(errs.New(errs.Integrity, "x")) }, map[string]float64{
			`datamesh_bad_shards_total{reason="Integrity"}`: 1}},
		{"scrubbed shard", func() { m.ScrubbedShard(5) }, map[string]float64{
			`datamesh_scrubbed_shards_total`: 1,
			`datamesh_scrubbed_bytes_total`:  5}},
		{"dropped shard", func() { m.DamagedShard(Dropped) }, map[string]float64{
			`datamesh_damaged_shards_total{fate="dropped"}`: 1}},
		{"audit proof", m.AuditProof, map[string]float64{`datamesh_audit_proofs_total`: 1}},
		{"audit failure", m.AuditFailure, map[string]float64{`datamesh_audit_failures_total`: 1}},
		{"audit silence", m.AuditSilence, map[string]float64{`datamesh_audit_silences_total`: 1}},
		{"rebuilt shard", func() { m.RepairedShard(Missing, 5) }, map[string]float64{
			`datamesh_repaired_shards_total{cause="missing"}`: 1,
			`datamesh_repaired_bytes_total{cause="missing"}`:  5}},
		{"spread shard", func() { m.RepairedShard(Spread, 6) }, map[string]float64{
			`datamesh_repaired_shards_total{cause="spread"}`: 1,
			`datamesh_repaired_bytes_total{cause="spread"}`:  6}},
		{"read to repair", func() { m.RepairRead(7) }, map[string]float64{`datamesh_repair_read_bytes_total`: 7}},
		{"failed repair", m.RepairFailed, map[string]float64{`datamesh_repair_failures_total`: 1}},
		{"shard too many", m.SurplusShard, map[string]float64{`datamesh_surplus_shards_total`: 1}},
		{"inventory", func() { m.InventoryTold(0) }, map[string]float64{`datamesh_inventories_total`: 1}},
		{"inventory that differs", func() { m.InventoryTold(3) }, map[string]float64{
			`datamesh_inventories_total`:           1,
			`datamesh_inventory_differences_total`: 3}},
		{"ring call", func() { m.RingCalled(3, 4, nil) }, map[string]float64{
			`datamesh_ring_calls_total{result="ok"}`:     1,
			`datamesh_ring_bytes_total{direction="out"}`: 3,
			`datamesh_ring_bytes_total{direction="in"}`:  4}},
		{"failed ring call", func() { m.RingCalled(3, 0, errors.New("x")) }, map[string]float64{
			`datamesh_ring_calls_total{result="failed"}`: 1,
			`datamesh_ring_bytes_total{direction="out"}`: 3}},
		{"served ring call", func() { m.RingServed(4, 3) }, map[string]float64{
			`datamesh_ring_served_total`:                 1,
			`datamesh_ring_bytes_total{direction="out"}`: 3,
			`datamesh_ring_bytes_total{direction="in"}`:  4}},
	} {
		if diff := cmp.Diff(c.want, moved(t, m, c.do)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestStateIsWhatIsGathered(t *testing.T) {
	got := values(t, New(), State{Alive: 1, Suspect: 2, Dead: 3, Connections: 4,
		Store: Store{Capacity: 5, Used: 6, Reserve: 7, Free: 8, Shards: 9}, CatalogObjects: 10, CatalogBytes: 11, Scrubbed: time.Unix(12, 5),
		WaitingSegments: 13})
	for series, want := range map[string]float64{
		`datamesh_members{state="alive"}`: 1, `datamesh_members{state="suspect"}`: 2, `datamesh_members{state="dead"}`: 3,
		`datamesh_connections`: 4, `datamesh_store_capacity_bytes`: 5, `datamesh_store_used_bytes`: 6,
		`datamesh_store_reserve_bytes`: 7, `datamesh_store_free_bytes`: 8, `datamesh_store_shards`: 9,
		`datamesh_catalog_objects`: 10, `datamesh_catalog_bytes`: 11, `datamesh_scrubbed_timestamp_seconds`: 12,
		`datamesh_repair_waiting_segments`: 13,
	} {
		if got[series] != want {
			t.Errorf("%s: got %v, want %v", series, got[series], want)
		}
	}
}

// The client library writes the same text from the same registry. What it
// says of the process itself differs from one moment to the next.
func TestTextIsThatOfPrometheus(t *testing.T) {
	m := New()
	m.PutEnded(1<<40, 3*time.Millisecond, nil)
	m.PutEnded(5, 1234*time.Second, errs.New(errs.Full, "x"))
	m.objectOps.WithLabelValues("odd \"\\\n", ok).Inc()
	samples, err := m.Gather(State{Store: Store{Capacity: 12345678901234567}})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := WriteText(&got, samples); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "text")
	if err := prometheus.WriteToTextfile(file, m.registry); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lasting(string(want)), lasting(got.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// lasting returns the lines without the values of the process's own metrics.
func lasting(text string) string {
	return regexp.MustCompile(`(?m)^((?:go|process)_\S+) \S+$`).ReplaceAllString(text, "$1")
}

func TestDocsListEveryMetric(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := New().Gather(State{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range samples {
		name := s.Family()
		if !strings.HasPrefix(name, "datamesh_") {
			continue
		}
		var labels []string
		for label := range s.Labels {
			if label != "le" {
				labels = append(labels, label)
			}
		}
		if len(labels) == 0 {
			labels = []string{"-"}
		}
		slices.Sort(labels)
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", name, s.Type, strings.Join(labels, ", "), s.Help)
		if !slices.Contains(want, row) {
			want = append(want, row)
		}
		if s.Help == "" || s.Type == "counter" && !strings.HasSuffix(name, "_total") {
			t.Errorf("%s: a counter ends with _total, and each has a help text", name)
		}
	}
	got := regexp.MustCompile("(?m)^\\| `datamesh_.*\\|$").FindAllString(string(doc), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md (-registry +docs):\n%s", diff)
	}
}
