package benchmark

import (
	"errors"
	"math"
	"slices"
	"time"
)

// A Result is what was measured.
type Result struct {
	InFlight    int      `json:"in_flight"`
	Bytes       int64    `json:"bytes"`        // of content that were put
	StoredBytes int64    `json:"stored_bytes"` // of all their shards on all peers
	Sizes       []Sized  `json:"sizes"`
	Swept       int      `json:"swept"` // objects that an earlier benchmark had left behind
	Left        []string `json:"left"`  // names of objects that could not be deleted
	Warnings    []string `json:"warnings,omitempty"`
}

// Sized is what was measured with objects of one size.
type Sized struct {
	Size int64    `json:"size"`
	Put  Measured `json:"put"`
	Get  Measured `json:"get"` // of whole objects

	Range *Ranged `json:"range,omitempty"`
}

// measured returns all that was measured.
func (s *Sized) measured() []*Measured {
	all := []*Measured{&s.Put, &s.Get}
	if s.Range != nil {
		all = append(all, &s.Range.First, &s.Range.Again)
	}
	return all
}

// Measured is what was measured of one kind of operation. Rates and latencies are
// those of operations that went well.
type Measured struct {
	Operations          int     `json:"operations"` // that went well
	Failures            int     `json:"failures"`
	Wrong               int     `json:"wrong"`           // failures of gets that gave other bytes than were put
	Error               string  `json:"error,omitempty"` // of the first failure
	Bytes               int64   `json:"bytes"`           // of content
	Seconds             float64 `json:"seconds"`         // from the beginning of the first operation to the end of the last
	BytesPerSecond      float64 `json:"bytes_per_second"`
	OperationsPerSecond float64 `json:"operations_per_second"`

	Latency   Latency  `json:"latency"`
	FirstByte *Latency `json:"first_byte"` // nil: of a put

	Began time.Time `json:"began"` // the first operation

	first error
}

// Latency has percentiles in milliseconds: the nearest ranks of all samples. What
// cannot be said of so few is nil.
type Latency struct {
	P50 *float64 `json:"p50_ms"`
	P95 *float64 `json:"p95_ms"`
	P99 *float64 `json:"p99_ms"`
	Max *float64 `json:"max_ms"`
}

// fewSamples is from how many samples on there is something to say of the slowest
// of them but which was the slowest.
const fewSamples = 20

// latencyOf returns the percentiles of samples, which it sorts.
func latencyOf(samples []time.Duration) (l Latency) {
	slices.Sort(samples)
	n := len(samples)
	if n == 0 {
		return l
	}
	l.P50, l.Max = rank(samples, 50), rank(samples, 100)
	if n >= fewSamples {
		l.P95, l.P99 = rank(samples, 95), rank(samples, 99)
	}
	return l
}

// rank returns the least of sorted samples that percent of them do not exceed.
func rank(samples []time.Duration, percent int) *float64 {
	at := (percent*len(samples) + 99) / 100 // from 1 on
	ms := round(samples[at-1].Seconds() * 1000)
	return &ms
}

// round leaves three digits behind the point, which is more than repeats.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }

func (m *Measured) fail(err error) {
	if m.Failures++; m.first == nil {
		m.first, m.Error = err, err.Error()
	}
	if _, other := errors.AsType[errOther](err); other {
		m.Wrong++
	}
}

// conclude counts what went well of operations with objects of a size, which began
// then and have just ended.
func (m *Measured) conclude(samples []sample, size int64, began time.Time) {
	took := time.Since(began)
	m.Began = began.UTC()
	m.Operations = len(samples)
	m.Bytes = times(size, m.Operations)
	m.Seconds = round(took.Seconds())
	if s := took.Seconds(); s > 0 {
		m.BytesPerSecond, m.OperationsPerSecond = math.Round(float64(m.Bytes)/s), round(float64(m.Operations)/s)
	}
	whole, first := make([]time.Duration, len(samples)), make([]time.Duration, len(samples))
	for i, s := range samples {
		whole[i], first[i] = s.whole, s.first
	}
	m.Latency = latencyOf(whole)
	if m.FirstByte != nil {
		*m.FirstByte = latencyOf(first)
	}
}

// Failures counts all operations that failed, and those of them that gave other
// bytes than were put, and returns the first error of the latter, or else of the former.
func (r *Result) Failures() (failed, wrong int, first error) {
	for i := range r.Sizes {
		for _, m := range r.Sizes[i].measured() {
			if m.first != nil && (first == nil || wrong == 0 && m.Wrong > 0) {
				first = m.first
			}
			failed += m.Failures
			wrong += m.Wrong
		}
	}
	return failed, wrong, first
}

// Operations counts all operations that went well.
func (r *Result) Operations() (n int) {
	for i := range r.Sizes {
		for _, m := range r.Sizes[i].measured() {
			n += m.Operations
		}
	}
	return n
}
