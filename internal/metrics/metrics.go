// Package metrics counts what a node does, for Prometheus and for people.
//
// Nothing below package node knows of it: it counts by wrapping, and in
// functions that fit the event hooks of other packages. A Metrics is made for
// one node, and starts at zero with it. The names, labels and meanings are an
// interface to others: docs/metrics.md lists them.
package metrics

import (
	"context"
	"errors"
	"time"

	"datamesh/internal/errs"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the counters of one node. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	shardOps     *prometheus.CounterVec   // store, operation, result
	shardBytes   *prometheus.CounterVec   // store, operation
	shardSeconds *prometheus.HistogramVec // store, operation

	objectOps     *prometheus.CounterVec   // operation, result
	objectBytes   *prometheus.CounterVec   // operation
	objectSeconds *prometheus.HistogramVec // operation

	lateShards prometheus.Counter
	badShards  *prometheus.CounterVec // reason

	scrubbedShards prometheus.Counter
	scrubbedBytes  prometheus.Counter
	damagedShards  *prometheus.CounterVec // fate

	auditProofs    prometheus.Counter
	auditFailures  prometheus.Counter
	auditSilences  prometheus.Counter
	repairedShards *prometheus.CounterVec // cause
	repairedBytes  *prometheus.CounterVec // cause
	repairRead     prometheus.Counter
	repairFailures prometheus.Counter
	surplusShards  prometheus.Counter
	inventories    prometheus.Counter
	differed       prometheus.Counter

	cacheFound   *prometheus.CounterVec // tier
	cacheMissed  *prometheus.CounterVec // tier
	cacheDamaged prometheus.Counter

	ringCalls  *prometheus.CounterVec // result
	ringServed prometheus.Counter
	ringBytes  *prometheus.CounterVec // direction

	state state
}

// The buckets of the histograms, in seconds.
var (
	shardBuckets  = []float64{.001, .005, .025, .1, .5, 2.5, 10}
	objectBuckets = []float64{.01, .1, 1, 10, 100, 1000}
)

// New returns metrics that are all zero.
func New() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{
		registry: r,

		shardOps: counters(r, "shard_operations_total",
			"Operations on stores of shards that have ended: the node's own store (local), for peers too, and those of peers (remote), as a client.", "store", "operation", "result"),
		shardBytes: counters(r, "shard_bytes_total",
			"Bytes of shards that were put into stores, or got from them, also along with where the others are.", "store", "operation"),
		shardSeconds: histograms(r, "shard_operation_seconds",
			"How long operations on stores of shards took, whatever came of them.", shardBuckets, "store", "operation"),

		objectOps: counters(r, "object_operations_total",
			"Puts and gets of objects that have ended, for the user of this node.", "operation", "result"),
		objectBytes: counters(r, "object_bytes_total",
			"Bytes of content of the objects that were put, or got.", "operation"),
		objectSeconds: histograms(r, "object_operation_seconds",
			"How long puts and gets of objects took, whatever came of them.", objectBuckets, "operation"),

		lateShards: counters(r, "late_shards_total",
			"Shards that a peer was slow to serve, so that another peer was asked in its stead.").WithLabelValues(),
		badShards: counters(r, "bad_shards_total",
			"Shards that a peer should have served and did not, or served wrong.", "reason"),

		scrubbedShards: counters(r, "scrubbed_shards_total",
			"Shards of the own store that were read to find damaged ones.").WithLabelValues(),
		scrubbedBytes: counters(r, "scrubbed_bytes_total",
			"Bytes of the own store that were read to find damaged shards.").WithLabelValues(),
		damagedShards: counters(r, "damaged_shards_total",
			"Shards of the own store that were found damaged, or not readable, as all were read.", "fate"),

		auditProofs: counters(r, "audit_proofs_total",
			"Shards that peers proved to hold, in audits by this node.").WithLabelValues(),
		auditFailures: counters(r, "audit_failures_total",
			"Shards that peers were said to hold and could not prove, in audits by this node.").WithLabelValues(),
		auditSilences: counters(r, "audit_silences_total",
			"Shards that peers did not say anything of, in audits by this node.").WithLabelValues(),
		repairedShards: counters(r, "repaired_shards_total",
			"Shards that this node gave to members, itself included, to make segments whole.", "cause"),
		repairedBytes: counters(r, "repaired_bytes_total",
			"Bytes of the shards that this node gave to members to make segments whole.", "cause"),
		repairRead: counters(r, "repair_read_bytes_total",
			"Bytes of shards that were read, from the own store too, to repair others.").WithLabelValues(),
		repairFailures: counters(r, "repair_failures_total",
			"Tries to repair a segment that failed; each is tried again.").WithLabelValues(),
		surplusShards: counters(r, "surplus_shards_total",
			"Shards of the own store that were dropped because another member keeps them.").WithLabelValues(),
		inventories: counters(r, "inventories_total",
			"Times that a member was told which shards this node holds of the segments that it keeps track of.").WithLabelValues(),
		differed: counters(r, "inventory_differences_total",
			"Ranges of shards of which a member that was told had known something else.").WithLabelValues(),

		cacheFound: counters(r, "cache_hits_total",
			"What gets found in the cache: frames of 64 KiB in memory or on the disk, and manifests.", "tier"),
		cacheMissed: counters(r, "cache_misses_total",
			"What gets looked for in the cache and did not find: frames in neither tier, counted as of the disk, and manifests.", "tier"),
		cacheDamaged: counters(r, "cache_damaged_total",
			"Files of the cache that were damaged, and removed.").WithLabelValues(),

		ringCalls: counters(r, "ring_calls_total",
			"Questions of the member table to other members: probes, and comparisons of tables.", "result"),
		ringServed: counters(r, "ring_served_total",
			"Questions of other members about the member table that were answered.").WithLabelValues(),
		ringBytes: counters(r, "ring_bytes_total",
			"Bytes of the messages of the member table, without what the transport adds.", "direction"),

		state: newState(r),
	}
	m.begin()
	return m
}

// begin makes the series that every node has, so that they start at zero.
func (m *Metrics) begin() {
	for _, store := range []string{Local, Remote} {
		for _, op := range shardOperations {
			m.shardOps.WithLabelValues(store, op, ok)
			m.shardSeconds.WithLabelValues(store, op)
		}
		m.shardBytes.WithLabelValues(store, "put")
		m.shardBytes.WithLabelValues(store, "get")
	}
	for _, op := range []string{"put", "get"} {
		m.objectOps.WithLabelValues(op, ok)
		m.objectBytes.WithLabelValues(op)
		m.objectSeconds.WithLabelValues(op)
	}
	m.badShards.WithLabelValues(errs.Integrity.Name())
	for _, fate := range []string{Dropped, Mended, Kept} {
		m.damagedShards.WithLabelValues(fate)
	}
	for _, cause := range []string{Missing, Spread} {
		m.repairedShards.WithLabelValues(cause)
		m.repairedBytes.WithLabelValues(cause)
	}
	for _, tier := range []string{"memory", "disk", "manifest"} {
		m.cacheFound.WithLabelValues(tier)
	}
	m.cacheMissed.WithLabelValues("disk")
	m.cacheMissed.WithLabelValues("manifest")
	m.ringCalls.WithLabelValues(ok)
	m.ringCalls.WithLabelValues("failed")
	m.ringBytes.WithLabelValues("in")
	m.ringBytes.WithLabelValues("out")
}

const namespace = "datamesh"

func counters(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func gauges(r prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func histograms(r prometheus.Registerer, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	r.MustRegister(v)
	return v
}

// ok is the result of what went well. Other results are the names of kinds
// of errors, as --json has them, or canceled.
const ok = "ok"

func result(err error) string {
	switch {
	case err == nil:
		return ok
	case errs.KindOf(err) == errs.Other && errors.Is(err, context.Canceled):
		return "canceled"
	}
	return errs.KindOf(err).Name()
}

// PutEnded counts a put of an object of so many bytes.
func (m *Metrics) PutEnded(bytes int64, took time.Duration, err error) {
	m.objectEnded("put", bytes, took, err)
}

// GetEnded counts a get of an object of so many bytes.
func (m *Metrics) GetEnded(bytes int64, took time.Duration, err error) {
	m.objectEnded("get", bytes, took, err)
}

func (m *Metrics) objectEnded(op string, bytes int64, took time.Duration, err error) {
	m.objectOps.WithLabelValues(op, result(err)).Inc()
	m.objectSeconds.WithLabelValues(op).Observe(took.Seconds())
	if err == nil {
		m.objectBytes.WithLabelValues(op).Add(float64(bytes))
	}
}

// LateShard counts a shard for which another peer was asked.
func (m *Metrics) LateShard() { m.lateShards.Inc() }

// ShardAlong counts a shard of so many bytes that a peer has sent unasked for, with an answer.
func (m *Metrics) ShardAlong(bytes int) {
	m.shardBytes.WithLabelValues(Remote, "get").Add(float64(bytes))
}

// BadShard counts a shard that was not served, for that reason.
func (m *Metrics) BadShard(reason error) { m.badShards.WithLabelValues(result(reason)).Inc() }

// The fates of shards that were found damaged.
const (
	Dropped = "dropped"
	Mended  = "mended"
	Kept    = "kept"
)

// ScrubbedShard counts a shard of which so many bytes were read.
func (m *Metrics) ScrubbedShard(bytes int) {
	m.scrubbedShards.Inc()
	m.scrubbedBytes.Add(float64(bytes))
}

// DamagedShard counts one that was damaged, by its fate.
func (m *Metrics) DamagedShard(fate string) { m.damagedShards.WithLabelValues(fate).Inc() }

// AuditProof counts a shard that a peer has proven.
func (m *Metrics) AuditProof() { m.auditProofs.Inc() }

// AuditFailure counts one that a peer could not prove.
func (m *Metrics) AuditFailure() { m.auditFailures.Inc() }

// AuditSilence counts one of which a peer said nothing.
func (m *Metrics) AuditSilence() { m.auditSilences.Inc() }

// Why a shard was given to a member.
const (
	Missing = "missing" // nobody had it
	Spread  = "spread"  // one member had too many of the segment
)

// RepairedShard counts a shard of so many bytes that was given to a member, by
// its cause.
func (m *Metrics) RepairedShard(cause string, bytes int) {
	m.repairedShards.WithLabelValues(cause).Inc()
	m.repairedBytes.WithLabelValues(cause).Add(float64(bytes))
}

// RepairRead counts bytes that were read to repair others.
func (m *Metrics) RepairRead(bytes int) { m.repairRead.Add(float64(bytes)) }

// RepairFailed counts a try to repair a segment.
func (m *Metrics) RepairFailed() { m.repairFailures.Inc() }

// SurplusShard counts a shard that was dropped because another keeps it.
func (m *Metrics) SurplusShard() { m.surplusShards.Inc() }

// InventoryTold counts that a member was told what this node holds, and of how
// many ranges it had known something else.
func (m *Metrics) InventoryTold(differed int) {
	m.inventories.Inc()
	m.differed.Add(float64(differed))
}

// CacheFound counts what a tier of the cache had.
func (m *Metrics) CacheFound(tier string) { m.cacheFound.WithLabelValues(tier).Inc() }

// CacheMissed counts what no tier had.
func (m *Metrics) CacheMissed(tier string) { m.cacheMissed.WithLabelValues(tier).Inc() }

// CacheDamaged counts a file of the cache that was damaged.
func (m *Metrics) CacheDamaged() { m.cacheDamaged.Inc() }

// RingCalled counts a question to another member, and the bytes that went out
// for it and came in.
func (m *Metrics) RingCalled(out, in int, err error) {
	came := ok
	if err != nil {
		came = "failed"
	}
	m.ringCalls.WithLabelValues(came).Inc()
	m.ringMoved(out, in)
}

// RingServed counts a question of another member that was answered.
func (m *Metrics) RingServed(in, out int) {
	m.ringServed.Inc()
	m.ringMoved(out, in)
}

func (m *Metrics) ringMoved(out, in int) {
	m.ringBytes.WithLabelValues("out").Add(float64(out))
	m.ringBytes.WithLabelValues("in").Add(float64(in))
}
