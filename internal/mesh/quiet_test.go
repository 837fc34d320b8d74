package mesh

import (
	"log/slog"
	"testing"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// A service's log has lines of one form, whatever the libraries have to say.
func TestLibrariesLogNothing(t *testing.T) {
	t.Setenv("GOLOG_LOG_LEVEL", "")
	quiet()
	if gologshim.Logger("swarm2").Enabled(t.Context(), slog.LevelError) {
		t.Error("libp2p logs errors")
	}
	if golog.Logger("dht").LevelEnabled(golog.LevelError) {
		t.Error("Kademlia logs errors")
	}
}
