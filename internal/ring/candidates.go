package ring

import "datamesh/internal/placement"

// Candidates returns the members that may be asked to hold a shard: those that
// are not known to be dead.
func Candidates(v *View) []placement.Candidate {
	all := make([]placement.Candidate, 0, v.live)
	for i := range v.members {
		x := &v.members[i]
		if x.State == Dead {
			continue
		}
		l := x.Record.Labels
		all = append(all, placement.Candidate{Peer: x.Record.Peer, ID: x.Placement,
			Site: l.Site, Host: l.Host, Owner: l.Owner, Used: x.Record.Used, Capacity: x.Record.Capacity})
	}
	return all
}
