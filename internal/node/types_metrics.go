package node

import "datamesh/internal/metrics"

// Metrics are the counters of a node since its start.
type Metrics struct {
	Metrics []metrics.Sample `json:"metrics"` // those of one metric together, by name
}
