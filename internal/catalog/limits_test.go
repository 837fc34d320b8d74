package catalog

import "testing"

// SetLimits sets, for a test that is not parallel to others, when runs are made.
func SetLimits(t *testing.T, records, runs int) {
	r, f := maxRecords, fanOut
	t.Cleanup(func() { maxRecords, fanOut = r, f })
	maxRecords, fanOut = records, runs
}

// Closed counts the connections that were closed since too many were idle.
func (c *Catalog) Closed() int64 { return c.db.Stats().MaxIdleClosed }
