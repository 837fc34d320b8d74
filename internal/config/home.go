package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/adrg/xdg"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// A Home is the absolute path of the directory in which one node, and one
// user on that machine, keep everything. Two homes share nothing. The user may
// have several identities there; see [User].
type Home string

// FindHome returns the home: dir if it is given, else DATAMESH_HOME, else
// datamesh in the XDG data directory. It need not exist. Kind: Configuration.
func FindHome(dir string) (Home, error) {
	if dir == "" {
		dir = os.Getenv(homeVariable)
	}
	if dir == "" {
		dir = defaultHome()
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", errs.New(errs.Configuration, "home %s: %w", dir, err)
	}
	return Home(abs), nil
}

func defaultHome() string { return filepath.Join(xdg.DataHome, "datamesh") }

// Make makes the directory, for this user alone, if it is not there, and finds
// out whether this user may write there. It is durable, since identities will
// lie in it. Kinds: IO, Full.
func (h Home) Make() error {
	if err := durable.MkdirAll(string(h), 0o700); err != nil {
		return errs.WithHint(fmt.Errorf("home: %w", err), "give another with --home DIR or %s", homeVariable)
	}
	if !mayWrite(string(h)) {
		return errs.WithHint(errs.New(errs.IO, "home %s: this user may not write there", h), "give another with --home DIR or %s", homeVariable)
	}
	return nil
}

// NodeKey is the file that holds the secret of the machine.
func (h Home) NodeKey() string { return h.path("node.key") }

// Mesh is the file that remembers the mesh and its members.
func (h Home) Mesh() string { return h.path("mesh") }

// Store is the directory of the shards that are kept for the mesh.
func (h Home) Store() string { return h.path("store") }

// Cache is the directory of what a service has read lately, sealed. It may be removed
// while none runs.
func (h Home) Cache() string { return h.path("cache") }

// Gets is the directory of the journals of gets that have not ended.
func (h Home) Gets() string { return h.path("gets") }

// Config is the configuration file. It is in the home, but that of the default
// home is where this user's programs have their configuration.
func (h Home) Config() string {
	if resolve(string(h)) == resolve(defaultHome()) {
		return filepath.Join(xdg.ConfigHome, "datamesh", "config.toml")
	}
	return h.path("config.toml")
}

// resolve returns a path without symbolic links if it can be followed, so that
// one home is the same by whatever path it is reached.
func resolve(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// History is the file of the lines that were typed in a console.
func (h Home) History() string { return h.path("history") }

// Benchmark is the file that is locked by the benchmark that runs.
func (h Home) Benchmark() string { return h.path("benchmark.lock") }

func (h Home) path(name string) string { return filepath.Join(string(h), name) }

// maxSocket is what every system allows for the path of a Unix socket.
const maxSocket = 100

// Socket returns the path of the socket of the node's local API, in a
// directory that holds nothing but such sockets and may have to be made. It is
// in the home unless its path would be too long for a socket; then it is in
// the runtime directory, or else in the temporary one, and named after a hash
// of the home's path.
func (h Home) Socket() string {
	home := resolve(string(h))
	path := filepath.Join(home, "run", "api.sock") // by which name the client of the API knows it
	if len(path) <= maxSocket {
		return path
	}
	sum := sha256.Sum256([]byte(home))
	name := hex.EncodeToString(sum[:8]) + ".sock"
	private := "datamesh-" + strconv.Itoa(os.Getuid())
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		path = filepath.Join(dir, "datamesh", name)
	} else {
		path = filepath.Join(os.TempDir(), private, name)
	}
	if len(path) <= maxSocket {
		return path
	}
	return filepath.Join("/tmp", private, name)
}
