// Package config holds the settings of a node and where its home is.
//
// Every setting has a default and is overridden by an environment variable
// named after it: ring.probe is DATAMESH_RING_PROBE. A value that makes no
// sense, or a variable that no setting has, is an error; nothing is ignored.
package config

import (
	"cmp"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"datamesh/internal/errs"
)

// Config is all settings. [Default] and [FromEnv] make one; it is not changed
// after that.
type Config struct {
	Ring   Ring
	Store  Store
	Put    Put
	Mesh   Mesh
	Member Member
	Log    Log
}

// Ring says how members watch each other.
type Ring struct {
	Probe time.Duration // between two probes
}

// Store says how much of the disk is used.
type Store struct {
	Capacity Size // 0: what the disk has
	Reserve  Size // of the capacity, kept for deletes and repair
}

// Put says how objects are stored when a put does not say it.
type Put struct {
	Code   Code
	Grace  time.Duration // how long a successful put waits for the last shards
	Resume time.Duration // how long an interrupted put or get can be resumed
}

// Mesh says how the node meets others.
type Mesh struct {
	Listen []netip.Addr
}

// Member is what the node says of itself to others: the failure domains it
// is in. An empty label is unknown.
type Member struct {
	Site, Host, Owner string
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
		Ring:   Ring{Probe: 5 * time.Second},
		Store:  Store{Reserve: 64 << 20},
		Put:    Put{Code: Code{K: 4, M: 2}, Grace: 3 * time.Second, Resume: 24 * time.Hour},
		Mesh:   Mesh{Listen: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}},
		Member: Member{Host: host},
		Log:    Log{Level: slog.LevelInfo, Format: "text"},
	}
}

// A setting binds a name to a field of a Config.
type setting struct {
	name   string             // section.key
	accept string             // what it accepts, for people
	set    func(string) error // Kind: Invalid
}

// settings lists the settings of c.
func (c *Config) settings() []setting {
	return []setting{
		{"ring.probe", "a duration above 0 such as 5s", into(&c.Ring.Probe, parsePositive)},
		{"store.capacity", "a size such as 500G, or 0 for what the disk has", into(&c.Store.Capacity, ParseSize)},
		{"store.reserve", "a size such as 64M", into(&c.Store.Reserve, ParseSize)},
		{"put.code", "k+m such as 4+2, at most 256 together", into(&c.Put.Code, ParseCode)},
		{"put.grace", "a duration such as 3s", into(&c.Put.Grace, ParseDuration)},
		{"put.resume", "a duration such as 24h, or 0s for never", into(&c.Put.Resume, ParseDuration)},
		{"mesh.listen", "IP addresses separated by commas such as 0.0.0.0,::", into(&c.Mesh.Listen, parseAddrs)},
		{"member.site", acceptLabel, into(&c.Member.Site, parseLabel)},
		{"member.host", acceptLabel, into(&c.Member.Host, parseLabel)},
		{"member.owner", acceptLabel, into(&c.Member.Owner, parseLabel)},
		{"log.level", "debug, info, warn or error", into(&c.Log.Level, parseLevel)},
		{"log.format", "text or json", into(&c.Log.Format, parseFormat)},
	}
}

func into[T any](field *T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil {
			*field = v
		}
		return err
	}
}

// envPrefix begins all variables of the program. homeVariable is the one that
// is no setting.
const (
	envPrefix    = "DATAMESH_"
	homeVariable = envPrefix + "HOME"
)

func variable(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
}

// FromEnv returns the default settings with the overrides in environ, which
// has the form of [os.Environ]. Kind: Configuration.
func FromEnv(environ []string) (Config, error) {
	c := Default()
	settings := c.settings()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || name == homeVariable {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return variable(s.name) == name })
		if i < 0 {
			return c, errs.WithHint(errs.New(errs.Configuration, "there is no setting %s", name),
				"did you mean %s?", nearest(name, settings))
		}
		if err := settings[i].set(value); err != nil {
			return c, errs.WithHint(errs.New(errs.Configuration, "%s is %q: %v", name, value, err),
				"%s accepts %s", name, settings[i].accept)
		}
	}
	if c.Store.Capacity > 0 && c.Store.Reserve >= c.Store.Capacity {
		return c, errs.WithHint(
			errs.New(errs.Configuration, "a capacity of %v leaves no room beside a reserve of %v", c.Store.Capacity, c.Store.Reserve),
			"raise %s or lower %s", variable("store.capacity"), variable("store.reserve"))
	}
	return c, nil
}

// nearest returns the variable that a mistyped one was most likely meant as.
func nearest(name string, settings []setting) string {
	names := []string{homeVariable}
	for _, s := range settings {
		names = append(names, variable(s.name))
	}
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
}

// distance is Levenshtein's: the fewest bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
