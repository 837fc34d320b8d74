package node

import "datamesh"

// Health is the answer of health: what the objects of the user survive now.
type Health struct {
	Verdict  string         `json:"verdict"`  // one sentence
	Degraded bool           `json:"degraded"` // something is worse than it could be
	Members  MemberStats    `json:"members"`
	Silent   int            `json:"silent"` // members that are not known to be dead and do not answer now
	Catalog  CatalogStats   `json:"catalog"`
	Least    *Safety        `json:"least"`   // of all objects; null: none were asked about
	Basis    *Basis         `json:"basis"`   // of the nines; null: there are none, and no node that has seen anything
	Objects  []ObjectHealth `json:"objects"` // the worst first; none if they were not asked for
}

// ObjectHealth is what the peers say now of one object.
type ObjectHealth struct {
	ID       datamesh.ObjectID `json:"id"`
	Name     string            `json:"name"`
	Survives int               `json:"survives"`          // peers that may vanish; -1: it cannot be read now
	Possible int               `json:"possible"`          // what it would survive, spread over all members that are not dead; -1: not known, as its manifest cannot be read
	Lost     int               `json:"lost"`              // shards that no peer has now
	Unwhole  int               `json:"unwhole"`           // segments that repair would see to: a shard is lost, or they survive less than the members allow
	Problem  string            `json:"problem,omitempty"` // why nothing more is known
	Segments int               `json:"segments"`          // the manifest's included; 0: not known
	Safety   Safety            `json:"safety"`
}

// Weak reports whether an object is worse off than it could be.
func (o ObjectHealth) Weak() bool {
	return o.Survives < 0 || o.Survives < o.Possible || o.Lost > 0 || o.Unwhole > 0
}
