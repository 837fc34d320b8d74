package node

import (
	"testing"

	"datamesh/internal/errs"
)

func TestAuditRefusesWhatMakesNoSense(t *testing.T) {
	first := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, first))
	first.sees(1)
	id, err := second.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own, err := first.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, err := first.Audit(t.Context(), AuditOptions{Peer: id.PeerID.String()}); err != nil || a.PeerID != id.PeerID || a.Shards != 0 || a.Failures == nil {
		t.Errorf("of one that holds nothing: got %+v, %v", a, err)
	}
	client := open(t, through(t, home(t), Client, first))
	for what, tt := range map[string]struct {
		n    *running
		o    AuditOptions
		want errs.Kind
	}{
		"too many":          {first, AuditOptions{Peer: id.PeerID.String(), Count: maxAudit + 1}, errs.Invalid},
		"less than nothing": {first, AuditOptions{Peer: id.PeerID.String(), Count: -1}, errs.Invalid},
		"nobody":            {first, AuditOptions{}, errs.Invalid},
		"itself":            {first, AuditOptions{Peer: own.PeerID.String()}, errs.Invalid},
		"a stranger":        {first, AuditOptions{Peer: "12D3KooWGRUW6A7EwWpWQMNe8uGcSeAYkYrVDdf4TfGLxBeDbwR9"}, errs.FileNotFound},
		"by a client":       {client, AuditOptions{Peer: id.PeerID.String()}, errs.Invalid},
	} {
		if _, err := tt.n.Audit(t.Context(), tt.o); errs.KindOf(err) != tt.want || errs.HintFor(err) == "" {
			t.Errorf("%s: got %v, want %s and a hint", what, err, tt.want.Name())
		}
	}
}
