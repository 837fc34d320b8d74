package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"datamesh/internal/benchmark"
	"datamesh/internal/errs"
)

func TestBenchmarkPrintsWhatWasMeasured(t *testing.T) {
	ms := func(x float64) *float64 { return &x }
	many := benchmark.Latency{P50: ms(1234.5), P95: ms(2000), P99: ms(3000.25), Max: ms(5599.7)}
	few := benchmark.Latency{P50: ms(0.4), Max: ms(12.25)}
	r := &benchmark.Result{InFlight: 64, Bytes: 2000*4096 + 3<<26, StoredBytes: 320_000_000, Swept: 1, Left: []string{}, Warnings: []string{"the object survives no loss"}, Sizes: []benchmark.Sized{
		{Size: 4096,
			Put: benchmark.Measured{Operations: 2000, Bytes: 2000 * 4096, Seconds: 2.5, BytesPerSecond: 3276800, OperationsPerSecond: 800, Latency: many},
			Get: benchmark.Measured{Operations: 1998, Failures: 2, Error: "get x: too few peers answer", Bytes: 1998 * 4096, Seconds: 1, BytesPerSecond: 8183808, OperationsPerSecond: 1998, Latency: many, FirstByte: &many}},
		{Size: 64 << 20,
			Put: benchmark.Measured{Operations: 3, Bytes: 3 << 26, Seconds: 1, BytesPerSecond: 3 << 26, OperationsPerSecond: 3, Latency: few},
			Get: benchmark.Measured{Failures: 3, Wrong: 3, Error: "get y: other bytes", FirstByte: &benchmark.Latency{}}}}}
	left := *r
	left.Left = []string{benchmark.Prefix + "a/b/0"}
	left.Sizes = nil
	var text, doc bytes.Buffer
	for _, r := range []*benchmark.Result{r, &left} {
		table := newTable(&text)
		benchmarkText(table, r)
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/benchmark.text", text.String())
	golden(t, "testdata/benchmark.json", doc.String())
}

func TestBenchmarkSaysHowItEnds(t *testing.T) {
	r := &benchmark.Result{Left: []string{}}
	if err := leftBehind(r, nil); err != nil {
		t.Errorf("all is well: %v", err)
	}
	for range 7 {
		r.Left = append(r.Left, benchmark.Prefix+"x")
	}
	for _, c := range []struct {
		err  error
		code int
	}{{nil, 3}, {errs.New(errs.Full, "no room"), 12}, {errs.New(errs.Integrity, "other bytes"), 7}} {
		err := leftBehind(r, c.err)
		if errs.ExitCode(err) != c.code || !strings.Contains(err.Error(), "not deleted: "+benchmark.Prefix+"x, ") || !strings.HasSuffix(err.Error(), " and 2 others") || errs.HintFor(err) == "" {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
	if err := interruption(leftBehind(r, context.Canceled)); !errors.Is(err, context.Canceled) || !strings.Contains(errs.HintFor(err), "the next datamesh benchmark") {
		t.Errorf("interrupted: %v, %q", err, errs.HintFor(err))
	}
}
