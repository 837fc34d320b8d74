package node

import (
	"context"

	"datamesh/internal/errs"
	"datamesh/internal/repair"
)

const (
	defaultAudit = 64
	maxAudit     = 100_000
)

// Audit has a member prove shards that this node's registry says it holds,
// drawn at random. Kinds: Invalid (this node stores nothing, or is that
// member), FileNotFound (no such member), Unavailable, Database.
func (n *Node) Audit(ctx context.Context, o AuditOptions) (*Audited, error) {
	if o.Count == 0 {
		o.Count = defaultAudit
	}
	if o.Count < 1 || o.Count > maxAudit {
		return nil, errs.WithHint(errs.New(errs.Invalid, "an audit of %d shards is not possible", o.Count), "--count takes 1 to 100000")
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.keeper == nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "this node stores nothing, and does not know who should hold what"),
			`audit from the home of a node that stores; start one with "datamesh service"`)
	}
	peers, err := n.oneMember(l, l.self, o.Peer)
	if err != nil {
		return nil, err
	}
	r, err := l.keeper.Audit(ctx, peers[0], o.Count)
	if err != nil {
		return nil, err
	}
	a := &Audited{PeerID: peers[0], Shards: len(r.Answers), Failures: []UnprovenShard{}, LastProof: r.Before.Proof.UTC(), LastFailure: r.Before.Failure.UTC()}
	for _, x := range r.Answers {
		switch x.Outcome {
		case repair.Proven:
			a.Proofs++
		case repair.Silent:
			a.Silences++
		case repair.Refuted:
			a.Failures = append(a.Failures, UnprovenShard{x.Key.Segment, x.Key.Index, x.Reason.Error()})
		}
	}
	return a, nil
}

// audited takes note of what came of asking a peer for a proof.
func (n *Node) audited(a repair.Answer) {
	switch a.Outcome {
	case repair.Proven:
		n.metrics.AuditProof()
	case repair.Silent:
		n.metrics.AuditSilence()
	case repair.Refuted:
		n.metrics.AuditFailure()
		n.log.Warn("a peer could not prove a shard", "peer", a.Peer, "segment", a.Key.Segment, "index", a.Key.Index, "error", a.Reason)
	}
}
