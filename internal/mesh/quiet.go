package mesh

import (
	"os"
	"sync"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
)

// quiet keeps libp2p and Kademlia from writing lines of their own form to
// standard error, where a service's log goes: of what they call errors most are
// how a connection ends. Whoever looks for a fault in them sets
// GOLOG_LOG_LEVEL, and sees them.
var quiet = sync.OnceFunc(func() {
	if os.Getenv("GOLOG_LOG_LEVEL") == "" {
		golog.SetupLogging(golog.Config{Level: golog.LevelFatal})
		gologshim.SetDefaultHandler(golog.SlogHandler())
	}
})
