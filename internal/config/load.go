package config

import (
	"net/netip"
	"slices"
	"strings"

	"datamesh/internal/errs"
)

// envPrefix begins all variables of the program. homeVariable is the one that
// is no setting.
const (
	envPrefix    = "DATAMESH_"
	homeVariable = envPrefix + "HOME"
)

// Variable returns the name of the environment variable of a setting.
func Variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Load returns the settings of a home: the defaults, overridden by its
// configuration file if there is one, then by environ, which has the form of
// [os.Environ], then by flags, which has values by key. Kinds: Configuration,
// Invalid (a flag).
func Load(home Home, environ []string, flags map[string]string) (Config, error) {
	c := Default()
	c.origins = map[string]string{}
	f, err := ReadFile(home.Config())
	if err != nil {
		return c, err
	}
	if err := f.apply(&c); err != nil {
		return c, err
	}
	if err := c.fromEnv(environ); err != nil {
		return c, err
	}
	for key, value := range flags {
		s, err := c.setting(key)
		if err != nil {
			return c, err
		}
		if err := s.set(value); err != nil {
			return c, errs.WithHint(errs.New(errs.Invalid, "%s is %q: %w", s.flag, value, err), "%s accepts %s", s.flag, s.accept)
		}
		c.origins[key] = "flag " + s.flag
	}
	return c, c.check()
}

func (c *Config) fromEnv(environ []string) error {
	settings := c.settings()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || name == homeVariable {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return Variable(s.key) == name })
		if i < 0 {
			names := []string{homeVariable}
			for _, s := range settings {
				names = append(names, Variable(s.key))
			}
			return errs.WithHint(errs.New(errs.Configuration, "there is no setting %s", name),
				"did you mean %s?", nearest(name, names))
		}
		if err := settings[i].set(value); err != nil {
			return errs.WithHint(errs.New(errs.Configuration, "%s is %q: %v", name, value, err),
				"%s accepts %s", name, settings[i].accept)
		}
		c.origins[settings[i].key] = "env " + name
	}
	return nil
}

// check tells whether the settings fit together. Kind: Configuration.
func (c *Config) check() error {
	if c.Store.Capacity > 0 && c.Store.Reserve >= c.Store.Capacity {
		return errs.WithHint(
			errs.New(errs.Configuration, "%s: a capacity of %v leaves no room beside a reserve of %v", c.where("store.capacity"), c.Store.Capacity, c.Store.Reserve),
			"raise store.capacity or lower store.reserve; see both with: datamesh config show --origin")
	}
	if slices.ContainsFunc(c.Mesh.Announce, isLoopback) && !slices.ContainsFunc(c.Mesh.Listen, netip.Addr.IsLoopback) {
		return errs.WithHint(
			errs.New(errs.Configuration, "%s: mesh.announce: others cannot reach a loopback address", c.where("mesh.announce")),
			"name the addresses that others reach this machine at: the router's, and that in the local network")
	}
	for _, ref := range c.Mesh.Bootstrap {
		if _, err := c.Peers(ref); err != nil {
			return errs.WithHint(errs.New(errs.Configuration, "%s: mesh.bootstrap: %v", c.where("mesh.bootstrap"), err), "%s", errs.HintFor(err))
		}
	}
	return nil
}

// where says in an error where a setting was made: PATH:LINE, or a name.
func (c *Config) where(key string) string {
	_, place, ok := strings.Cut(c.origins[key], " ")
	if !ok {
		return key
	}
	return place
}
