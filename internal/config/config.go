// Package config holds the settings of a node and where its home is.
//
// Every setting has a default. It is overridden by the configuration file, by
// an environment variable named after it (ring.probe is DATAMESH_RING_PROBE)
// and by a flag, each going before those it comes after here. A value that
// makes no sense, and a key or variable that no setting has, is an error;
// nothing is ignored. [Load] reads all of it; a [File] is for those who edit.
package config

import (
	"log/slog"
	"net/netip"
	"os"
	"time"
)

// Config is all settings. [Default] and [Load] make one; it is not changed
// after that.
type Config struct {
	Mesh     Mesh
	Ring     Ring
	Store    Store
	Put      Put
	Repair   Repair
	Scrub    Scrub
	Audit    Audit
	Cache    Cache
	Member   Member
	Keys     Keys
	Log      Log
	Networks []Network // of the file, in its order; see [Config.Peers]

	origins map[string]string // by key; what is not in it is a default
}

// Mesh says how the node meets others.
type Mesh struct {
	Port      int          // 0: the one it had before, or any
	Listen    []netip.Addr // of a storage node
	Announce  []string     // multiaddrs to be reached at; none: those that it listens on
	Bootstrap []string     // PEER_ID@ADDR or names of networks; see [Config.Doors]
	MDNS      bool         // look for members on the local network
}

// Ring says how members watch each other.
type Ring struct {
	Probe time.Duration // between two probes
}

// Store says how much of the disk is used.
type Store struct {
	Capacity Size          // 0: what the disk has
	Reserve  Size          // of the capacity, kept for deletes and repair
	Trash    time.Duration // for how long what was deleted is kept
}

// Put says how objects are stored when a put does not say it.
type Put struct {
	Code     Code
	Compress string        // content, where it pays: auto, off or max
	Grace    time.Duration // how long a successful put waits for the last shards
	Resume   time.Duration // for how long an interrupted put can be gone on with
}

// Repair says how the node keeps segments whole.
type Repair struct {
	Grace    time.Duration // until lost shards are rebuilt, while more may be lost
	Interval time.Duration // between two looks at all segments
	Rate     Size          // bytes that are read in a second; 0: no limit
}

// Scrub says how a store is looked through for damage.
type Scrub struct {
	Rate     Size          // bytes that are read in a second; 0: no limit
	Interval time.Duration // from the end of a pass to the begin of the next
}

// Audit says how holders of shards are asked for proofs.
type Audit struct {
	Interval time.Duration // in which each segment that the node keeps track of comes round
}

// Cache says how much of what was read lately is kept.
type Cache struct {
	Memory Size          // 0: none
	Disk   Size          // by a service, in the home; 0: none
	TTL    time.Duration // from when it was read last; 0: nothing is kept
}

// Member is what the node says of itself to others: the failure domains it
// is in. An empty label is unknown.
type Member struct {
	Site, Host, Owner string
}

// Keys says how the identity of the user is opened.
type Keys struct {
	PassphraseFile string // absolute; "": whoever needs it is asked
}

// Log says what a service logs.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Default returns the settings of a node that nobody has configured.
func Default() Config {
	name, _ := os.Hostname()
	host, _ := parseLabel(name) // without a usable name the domain is unknown
	return Config{
		Mesh:   Mesh{Listen: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}},
		Ring:   Ring{Probe: 5 * time.Second},
		Store:  Store{Reserve: 64 << 20, Trash: 7 * 24 * time.Hour},
		Put:    Put{Code: Code{K: 4, M: 2}, Compress: "auto", Grace: 3 * time.Second, Resume: 24 * time.Hour},
		Repair: Repair{Grace: 15 * time.Minute, Interval: time.Hour, Rate: 32 << 20},
		Scrub:  Scrub{Rate: 20 << 20, Interval: 7 * 24 * time.Hour},
		Audit:  Audit{Interval: 7 * 24 * time.Hour},
		Cache:  Cache{Memory: 32 << 20, Disk: 1 << 30, TTL: time.Hour},
		Member: Member{Host: host},
		Log:    Log{Level: slog.LevelInfo, Format: "text"},
	}
}
