package node

import (
	"fmt"
	"math"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/durability"
	"datamesh/internal/object"
)

// What is assumed where a node has not seen enough. docs/durability.md has the
// reasons.
const (
	assumedLoss     = 0.10536051565782628 // -ln 0.9: a tenth of the members are lost a year
	assumedRepair   = 24 * time.Hour
	assumedHostLoss = 0.01
	assumedSiteLoss = 0.001

	// enough losses refute what is assumed, and enough repairs have a mean.
	enough = 3

	mostLoss = 1000 // a year, which package durability takes
	year     = 8766 * time.Hour
)

// A reckoning turns what was seen into nines. It is not safe for concurrent
// use.
type reckoning struct {
	basis  Basis
	labels func(datamesh.PeerID) Labels
	known  map[string]float64 // the annual loss by model, as their computation may take a moment
}

// newReckoning returns one of what a node has seen; nil: nothing.
func newReckoning(s *seen, labels func(datamesh.PeerID) Labels) *reckoning {
	r := &reckoning{labels: labels, known: map[string]float64{}, basis: Basis{
		MemberLoss: assumedLoss, MemberLossFrom: FromAssumed, RepairHours: assumedRepair.Hours(), RepairFrom: FromAssumed,
		HostLoss: assumedHostLoss, SiteLoss: assumedSiteLoss, DemonstratedFrom: FromObjects}}
	if s == nil {
		return r
	}
	b := &r.basis
	b.Seen = &Seen{Since: time.Unix(s.since, 0).UTC(), MemberYears: years(s.memberSeconds), Losses: int(s.losses),
		Repairs: int(s.repairs), RepairHours: float64(s.repairSeconds) / 3600,
		SegmentYears: years(s.segmentSeconds), SegmentsLost: int(s.lost)}
	o, err := durability.Observe(b.Seen.Losses, b.Seen.MemberYears)
	if err == nil && (o.Losses >= enough || o.Upper <= assumedLoss) {
		b.MemberLoss, b.MemberLossFrom = min(o.Upper, mostLoss), FromObserved
	}
	if b.Seen.Repairs >= enough {
		mean := durability.Repairs{Count: b.Seen.Repairs, Hours: b.Seen.RepairHours}.Mean()
		b.RepairHours, b.RepairFrom = mean.Hours(), FromObserved
	}
	if s.segmentSeconds > 0 || s.lost > 0 {
		b.DemonstratedFrom, b.DemonstratedLost, b.Years = FromSegments, b.Seen.SegmentsLost, b.Seen.SegmentYears
	}
	return r
}

func years(seconds int64) float64 { return float64(seconds) / year.Seconds() }

// watched counts an object that is there since it was put, or lost, unless the
// node has watched segments.
func (r *reckoning) watched(put, now time.Time, lost bool) {
	switch {
	case r.basis.DemonstratedFrom != FromObjects:
	case lost:
		r.basis.DemonstratedLost++
	case !put.IsZero() && now.After(put):
		r.basis.Years += now.Sub(put).Seconds() / year.Seconds()
	}
}

// demonstrated returns the nines that were demonstrated for an object of so
// many segments.
func (r *reckoning) demonstrated(segments int) float64 {
	o, err := durability.Observe(r.basis.DemonstratedLost, r.basis.Years)
	if err != nil {
		return 0
	}
	p := -math.Expm1(-o.Upper)
	if r.basis.DemonstratedFrom == FromSegments {
		p = durability.AnyOf(segments, p)
	}
	return down(durability.Nines(p))
}

// modelled returns the nines of an object as it is now: what is missing counts
// as if it never came back.
func (r *reckoning) modelled(segments []object.SegmentState) float64 {
	kept := 0.0 // the logarithm of the probability that all are
	for i := range segments {
		p := r.segment(&segments[i])
		if p >= 1 {
			return 0
		}
		kept += math.Log1p(-p)
	}
	return down(durability.Nines(-math.Expm1(kept)))
}

// down rounds to hundredths, as nines are.
func down(nines float64) float64 { return math.Floor(nines*100+1e-9) / 100 }

// segment returns the annual loss of a segment: the worst of what members,
// hosts and sites do to it.
func (r *reckoning) segment(s *object.SegmentState) float64 {
	var peers, hosts, sites []string // of each shard that is there
	for _, who := range s.Holders() {
		if len(who) > 0 { // of several holders the first: more can only help
			peer := who[0].String()
			l := r.labels(who[0])
			peers = append(peers, peer)
			hosts = append(hosts, orAlone(l.Host, peer))
			sites = append(sites, orAlone(l.Site, peer))
		}
	}
	if len(peers) < s.K {
		return 1
	}
	m := durability.Model{K: s.K, M: len(peers) - s.K, Repair: time.Duration(r.basis.RepairHours * float64(time.Hour))}
	byPeer := sizes(peers)
	alone := byPeer[0] == 1
	if alone {
		m.Loss = r.basis.MemberLoss
	} else {
		m.Domains, m.DomainLoss = byPeer, r.basis.MemberLoss
	}
	worst := r.annualLoss(m)
	for _, d := range []struct {
		of   []string
		loss float64
	}{{hosts, r.basis.HostLoss}, {sites, r.basis.SiteLoss}} {
		groups := sizes(d.of)
		if len(groups) == len(byPeer) {
			continue // its loss is that of a member
		}
		m.Domains, m.DomainLoss = groups, d.loss
		if !alone { // as if a member's loss were that of all that it shares the domain with
			m.DomainLoss = min(d.loss+r.basis.MemberLoss*float64(most(peers, d.of)), mostLoss)
		}
		worst = max(worst, r.annualLoss(m))
	}
	return worst
}

// orAlone returns the label of a domain, or one that no other has.
func orAlone(label, peer string) string {
	if label == "" {
		return "\x00" + peer
	}
	return label
}

// sizes returns how often each name occurs, the greatest first.
func sizes(names []string) (all []int) {
	n := map[string]int{}
	for _, name := range names {
		n[name]++
	}
	for _, x := range n {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b int) int { return b - a })
	return all
}

// most returns how many peers the domain with the most of them has.
func most(peers, domains []string) (n int) {
	of := map[string]map[string]bool{}
	for i, d := range domains {
		if of[d] == nil {
			of[d] = map[string]bool{}
		}
		of[d][peers[i]] = true
		n = max(n, len(of[d]))
	}
	return n
}

// annualLoss is that of a model, or 1 if that makes no sense.
func (r *reckoning) annualLoss(m durability.Model) float64 {
	name := fmt.Sprint(m)
	if p, ok := r.known[name]; ok {
		return p
	}
	p, err := m.AnnualLoss()
	if err != nil {
		p = 1
	}
	r.known[name] = p
	return p
}
