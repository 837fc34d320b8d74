package config

import (
	"slices"
	"strconv"
	"strings"

	"datamesh/internal/errs"
)

// A form is how a value is written in the file.
type form int

const (
	text     form = iota // a string
	sizeText             // a string, or a whole number
	number               // a whole number
	boolean              // true or false
	list                 // an array of strings
)

// A setting binds a key to a field of a Config.
type setting struct {
	key    string // section.name
	form   form
	flag   string             // the flag that overrides it, if there is one
	about  string             // what it is, for people
	accept string             // what it accepts, for people
	set    func(string) error // Kind: Invalid
	get    func() string      // what set would read
}

// settings lists the settings of c, by section.
func (c *Config) settings() []setting {
	return []setting{
		bind("mesh.port", number, "--port", "the port to listen on; 0: the one it had before, or any", "a port up to 65535, or 0",
			&c.Mesh.Port, parsePort, strconv.Itoa),
		bind("mesh.listen", list, "", "addresses to listen on", "IP addresses such as 0.0.0.0,::",
			&c.Mesh.Listen, parseAddrs, formatAddrs),
		bind("mesh.announce", list, "", "where others are told to reach the node, and nowhere else, as behind a router that forwards a port: name the address in the local network, too, for those who are there; empty: where it listens", "at most 8 addresses such as /ip4/192.0.2.7/tcp/40871",
			&c.Mesh.Announce, parseAnnounced, formatDoors),
		bind("mesh.bootstrap", list, "", "whom to join a mesh through while the home knows of none", "peers as PEER_ID@ADDR and names of networks",
			&c.Mesh.Bootstrap, parseDoors, formatDoors),
		bind("mesh.mdns", boolean, "", "look for members on the local network", "true or false",
			&c.Mesh.MDNS, parseBool, strconv.FormatBool),
		bind("ring.probe", text, "", "the time between two probes of a member", "a duration above 0 such as 5s",
			&c.Ring.Probe, parsePositive, formatDuration),
		bind("store.capacity", sizeText, "", "what shards and reserve may take; 0: what is used plus what the disk has free at the start", "a size such as 500G, or 0 for what the disk has",
			&c.Store.Capacity, ParseSize, formatSize),
		bind("store.reserve", sizeText, "", "of the capacity, kept free for deletes and repair; 0: 5 % of it, at most 1 GiB", "a size such as 64M",
			&c.Store.Reserve, ParseSize, formatSize),
		bind("store.trash", text, "", "for how long shards that were deleted can be brought back; only the time counts for which the node runs", "a duration above 0 such as 168h",
			&c.Store.Trash, parsePositive, formatDuration),
		bind("put.code", text, "--code", "how a put codes: any k of k+m shards suffice", "k+m such as 4+2, at most 256 together",
			&c.Put.Code, ParseCode, Code.String),
		bind("put.compress", text, "--compress", "whether a put compresses what pays: fast, not at all, or as well as it can", "auto, off or max",
			&c.Put.Compress, parseCompress, same),
		bind("put.grace", text, "", "how long a put that could succeed waits for its last shards", "a duration such as 3s",
			&c.Put.Grace, ParseDuration, formatDuration),
		bind("put.resume", text, "", "for how long an interrupted put can be gone on with", "a duration such as 24h",
			&c.Put.Resume, ParseDuration, formatDuration),
		bind("repair.grace", text, "", "how long a segment that has lost shards, and can lose more, waits for their holders before they are rebuilt", "a duration such as 15m",
			&c.Repair.Grace, ParseDuration, formatDuration),
		bind("repair.interval", text, "", "the time between two looks at all segments, whatever happens", "a duration above 0 such as 1h",
			&c.Repair.Interval, parsePositive, formatDuration),
		bind("repair.rate", sizeText, "", "how many bytes a second repair reads; 0: as many as it can", "a size such as 32M, or 0 for no limit",
			&c.Repair.Rate, ParseSize, formatSize),
		bind("scrub.rate", sizeText, "", "how much of its own shards a node reads in a second to find damaged ones; 0: as fast as it goes", "a size such as 20M, or 0 for no limit",
			&c.Scrub.Rate, ParseSize, formatSize),
		bind("scrub.interval", text, "", "the time from the end of such a pass over all shards to the begin of the next", "a duration above 0 such as 168h",
			&c.Scrub.Interval, parsePositive, formatDuration),
		bind("audit.interval", text, "", "the time in which the holders of every segment that the node keeps track of are asked for proofs; at most one segment a second", "a duration above 0 such as 168h",
			&c.Audit.Interval, parsePositive, formatDuration),
		bind("cache.memory", sizeText, "", "how much of what was read lately is kept in memory, opened; 0: nothing", "a size such as 32M, or 0 for none",
			&c.Cache.Memory, ParseSize, formatSize),
		bind("cache.disk", sizeText, "", "how much of it a service keeps in the home, sealed, as long as the disk has twice that to spare; 0: nothing", "a size such as 1G, or 0 for none",
			&c.Cache.Disk, ParseSize, formatSize),
		bind("cache.ttl", text, "", "for how long something is kept after it was read last; 0: nothing is kept", "a duration such as 1h, or 0s",
			&c.Cache.TTL, ParseDuration, formatDuration),
		bind("member.site", text, "", "failure domain of the node: its site", acceptLabel,
			&c.Member.Site, parseLabel, same),
		bind("member.host", text, "", "failure domain of the node: its host", acceptLabel,
			&c.Member.Host, parseLabel, same),
		bind("member.owner", text, "", "failure domain of the node: who runs it", acceptLabel,
			&c.Member.Owner, parseLabel, same),
		bind("keys.passphrase_file", text, "--passphrase-file", "the file that has the passphrase of the identity; without one it is asked for, and a service does without",
			"an absolute path", &c.Keys.PassphraseFile, parsePath, same),
		bind("log.level", text, "--verbose", "the least that is logged", "debug, info, warn or error",
			&c.Log.Level, parseLevel, formatLevel),
		bind("log.format", text, "", "how it is logged", "text or json",
			&c.Log.Format, parseFormat, same),
	}
}

func bind[T any](key string, f form, flag, about, accept string, field *T, parse func(string) (T, error), format func(T) string) setting {
	return setting{key, f, flag, about, accept, func(s string) error {
		v, err := parse(s)
		if err == nil {
			*field = v
		}
		return err
	}, func() string { return format(*field) }}
}

func same(s string) string { return s }

// setting returns the setting of that key. Kind: Invalid.
func (c *Config) setting(key string) (setting, error) {
	all := c.settings()
	if i := slices.IndexFunc(all, func(s setting) bool { return s.key == key }); i >= 0 {
		return all[i], nil
	}
	return setting{}, errs.WithHint(errs.New(errs.Invalid, "there is no setting %q", key), "did you mean %s?", nearest(key, keys(all)))
}

func keys(all []setting) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.key
	}
	return names
}

// section and name are the two parts of its key.
func (s setting) section() string { section, _, _ := strings.Cut(s.key, "."); return section }
func (s setting) name() string    { _, name, _ := strings.Cut(s.key, "."); return name }

// A Setting is what one setting is and where that was said.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // as the environment would have it
	Origin string `json:"origin"` // "default", "file PATH:LINE", "env NAME" or "flag --x"
}

// Settings lists all settings, by section.
func (c Config) Settings() []Setting {
	var all []Setting
	for _, s := range c.settings() {
		all = append(all, c.shown(s))
	}
	return all
}

// Setting returns one setting. Kind: Invalid (there is none of that key).
func (c Config) Setting(key string) (Setting, error) {
	s, err := c.setting(key)
	if err != nil {
		return Setting{}, err
	}
	return c.shown(s), nil
}

// About says in a few words what the setting of that key is; "" if there is
// none.
func About(key string) string {
	var c Config
	s, _ := c.setting(key)
	return s.about
}

func (c *Config) shown(s setting) Setting {
	origin := c.origins[s.key]
	if origin == "" {
		origin = "default"
	}
	return Setting{s.key, s.get(), origin}
}

// encode returns a value, which the setting accepts, as the file has it.
func (s setting) encode(value string) string {
	switch s.form {
	case number, boolean:
		return value
	case list:
		return encodeList(splitList(value))
	}
	return quote(value)
}

func encodeList(elements []string) string {
	quoted := make([]string, len(elements))
	for i, e := range elements {
		quoted[i] = quote(e)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote returns a TOML string. It has no control characters: no setting
// accepts them.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
