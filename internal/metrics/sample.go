package metrics

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"datamesh/internal/errs"

	dto "github.com/prometheus/client_model/go"
)

// A Sample is one value of a metric. A histogram or a summary has several:
// their names end with _bucket, _sum and _count, or have the label quantile.
type Sample struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"` // counter, gauge, histogram or summary
	Help   string            `json:"help"`
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

// Gather returns all samples, of a node that is in that state: those of one
// metric together, in the order of their names. What is no number is left out.
func (m *Metrics) Gather(s State) ([]Sample, error) {
	m.state.set(s)
	families, err := m.registry.Gather()
	if err != nil {
		return nil, errs.New(errs.Other, "metrics: %w", err)
	}
	samples := []Sample{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			samples = append(samples, samplesOf(f, x)...)
		}
	}
	return slices.DeleteFunc(samples, func(s Sample) bool { return math.IsNaN(s.Value) || math.IsInf(s.Value, 0) }), nil
}

func samplesOf(f *dto.MetricFamily, x *dto.Metric) (all []Sample) {
	add := func(suffix string, value float64, extra ...string) {
		labels := map[string]string{}
		for _, l := range x.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if len(extra) > 0 {
			labels[extra[0]] = extra[1]
		}
		all = append(all, Sample{f.GetName() + suffix, strings.ToLower(f.GetType().String()), f.GetHelp(), labels, value})
	}
	switch {
	case x.Counter != nil:
		add("", x.Counter.GetValue())
	case x.Gauge != nil:
		add("", x.Gauge.GetValue())
	case x.Histogram != nil:
		for _, b := range x.Histogram.GetBucket() {
			add("_bucket", float64(b.GetCumulativeCount()), "le", number(b.GetUpperBound()))
		}
		add("_bucket", float64(x.Histogram.GetSampleCount()), "le", "+Inf")
		add("_sum", x.Histogram.GetSampleSum())
		add("_count", float64(x.Histogram.GetSampleCount()))
	case x.Summary != nil:
		for _, q := range x.Summary.GetQuantile() {
			add("", q.GetValue(), "quantile", number(q.GetQuantile()))
		}
		add("_sum", x.Summary.GetSampleSum())
		add("_count", float64(x.Summary.GetSampleCount()))
	}
	return all
}

// Family returns the name of the metric that a sample belongs to.
func (s Sample) Family() string {
	if s.Type != "histogram" && s.Type != "summary" {
		return s.Name
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(s.Name, suffix); ok {
			return name
		}
	}
	return s.Name
}

// Series returns the name of a sample with its labels, as Prometheus has it.
func (s Sample) Series() string {
	if len(s.Labels) == 0 {
		return s.Name
	}
	var pairs []string
	last := "" // the label that Prometheus puts behind the others
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		pair := fmt.Sprintf(`%s="%s"`, name, escapeLabel.Replace(s.Labels[name]))
		if name == "le" || name == "quantile" {
			last = pair
		} else {
			pairs = append(pairs, pair)
		}
	}
	if last != "" {
		pairs = append(pairs, last)
	}
	return s.Name + "{" + strings.Join(pairs, ",") + "}"
}

var (
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// WriteText writes samples, in the order of Gather, as Prometheus reads them
// (text format 0.0.4).
func WriteText(w io.Writer, samples []Sample) error {
	b := bufio.NewWriter(w)
	family := ""
	for _, s := range samples {
		if name := s.Family(); name != family {
			family = name
			fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, escapeHelp.Replace(s.Help), name, s.Type)
		}
		fmt.Fprintf(b, "%s %s\n", s.Series(), number(s.Value))
	}
	return b.Flush()
}
