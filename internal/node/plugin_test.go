package node

import (
	"bytes"
	"testing"

	"filippo.io/age/plugin"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// Whoever reaches the socket of a node that stores for others cannot have it run
// a program; a client runs it for its user.
func TestANodeThatStoresRunsNoPlugins(t *testing.T) {
	recipient := plugin.EncodeRecipient("missing", []byte("anything"))
	door := bootstrap(t, home(t))
	if _, err := door.Put(t.Context(), bytes.NewReader(nil), PutOptions{To: []string{recipient}}); errs.KindOf(err) != errs.Invalid || errs.HintFor(err) == "" {
		t.Errorf("a service: got %v", err)
	}
	o := through(t, home(t), Client, door)
	o.Keys = &keyring.File{Path: o.Home.Default().Identity(), Plugins: &crypt.UI{}}
	if _, err := open(t, o).Put(t.Context(), bytes.NewReader(nil), PutOptions{To: []string{recipient}}); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("a client: got %v", err)
	}
}
