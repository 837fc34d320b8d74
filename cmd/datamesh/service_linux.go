package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// serviceVerbs are what systemd is asked to do with the service.
func (c *cli) serviceVerbs() []*cobra.Command {
	return []*cobra.Command{c.serviceInstallCommand(), c.serviceUninstallCommand(), c.serviceStatusCommand(), c.serviceLogsCommand()}
}

// A manager is the systemd of the machine, or of the user.
type manager struct{ system bool }

// serviceVerb returns a command that has to do with one of the two, and which
// one: a flag chooses it.
func serviceVerb(use, short string) (*cobra.Command, *manager) {
	cmd := &cobra.Command{Use: use, Short: short, Args: arity(0, 0), ValidArgsFunction: positional()}
	m := &manager{}
	cmd.Flags().BoolVar(&m.system, "system", os.Geteuid() == 0, "the machine's service, not that of a user (default for root)")
	cmd.Flags().Lookup("system").DefValue = "false" // help says it in words, and the same to everybody
	return cmd, m
}

func (m *manager) args(args ...string) []string {
	if m.system {
		return args
	}
	return append([]string{"--user"}, args...)
}

// ctl asks systemd. Kind: Unavailable.
func (m *manager) ctl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", m.args(args...)...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, errs.New(errs.Unavailable, "systemctl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// check tells whether there is a systemd to ask. Kind: Unavailable.
func (m *manager) check(ctx context.Context) error {
	if _, err := m.ctl(ctx, "show", "--property=Version"); err != nil {
		return errs.WithHint(errs.New(errs.Unavailable, "systemd does not run here: %w", err),
			`have your init system run "datamesh service" as it runs other programs in the foreground`)
	}
	return nil
}

// path returns where the unit is, or is to be. Kind: IO.
func (m *manager) path() (string, error) {
	if m.system {
		return filepath.Join("/etc/systemd/system", unitName), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", errs.New(errs.IO, "%w", err)
	}
	return filepath.Join(dir, "systemd", "user", unitName), nil
}

// ours reports whether a unit is there and was written by us. Kinds: Exists
// (somebody else wrote it), IO.
func ours(path string) (bool, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, errs.New(errs.IO, "%w", err)
	case !strings.HasPrefix(string(b), unitMark+"\n"):
		return false, errs.WithHint(errs.New(errs.Exists, "%s was not written by datamesh", path), "move it away first")
	}
	return true, nil
}

// installed is the document of service install.
type installed struct {
	Unit   string `json:"unit"` // path
	Home   string `json:"home"`
	Text   string `json:"text"` // of the unit
	DryRun bool   `json:"dry_run,omitempty"`
}

func (c *cli) serviceInstallCommand() *cobra.Command {
	var dryRun, begin bool
	cmd, m := serviceVerb("install", "have systemd run the node, from now on and after each boot")
	cmd.Long = `Writes a hardened unit for systemd, and starts it. Root's is the machine's
service, with its home in ` + stateHome + ` and a user of its own; anybody
else's is a service of that user, with the user's home. Give --bootstrap-peer
and --bootstrap-addr to join a mesh, or --begin for the first node of one.`
	cmd.Flags().BoolVar(&begin, "begin", false, "begin a mesh, as bootstrap does")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the unit, and change nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		u, err := c.unit(m, begin)
		if err != nil {
			return err
		}
		text, err := u.text()
		if err != nil {
			return err
		}
		path, err := m.path()
		if err != nil {
			return err
		}
		hidden := u.hidden()
		if dryRun {
			if hidden != nil {
				c.warn("%v: %s", hidden, errs.HintFor(hidden))
			}
			return c.print(installed{path, u.Home, text, true}, func(w io.Writer) { io.WriteString(w, text) })
		}
		if hidden != nil {
			return hidden
		}
		if err := m.install(cmd.Context(), path, text); err != nil {
			return err
		}
		return c.print(installed{path, u.Home, text, false}, func(w io.Writer) {
			fmt.Fprintf(w, "the node runs, and will after each boot: %s, with its home in %s; see it with \"datamesh service status\"\n", path, u.Home)
		})
	}
	return cmd
}

// unit returns the unit that the flags ask for. Kind: Invalid.
func (c *cli) unit(m *manager, begin bool) (u unit, err error) {
	u = unit{System: m.system, Verb: "service", Home: stateHome}
	if u.Program, err = os.Executable(); err != nil {
		return u, errs.New(errs.IO, "%w", err)
	}
	switch {
	case m.system && c.homeDir != "":
		err := errs.New(errs.Invalid, "the home of the machine's service is %s", stateHome)
		if os.Geteuid() == 0 {
			return u, errs.WithHint(err, "leave out --home, or ask for a user's service with --system=false")
		}
		return u, errs.WithHint(err, "leave out --home, or ask for a user's service without --system")
	case !m.system:
		home, err := config.FindHome(c.homeDir)
		if err != nil {
			return u, err
		}
		u.Home = string(home)
	}
	b, err := c.bootstrap()
	switch {
	case err != nil:
		return u, err
	case begin && b != nil:
		return u, errs.New(errs.Invalid, "a node either begins a mesh or joins one")
	case begin:
		u.Verb = "bootstrap"
	case b != nil:
		u.Bootstrap = b[0].String()
	}
	return u, nil
}

// install writes the unit and starts it. If it cannot be started, all is as
// it was. Kinds: Unavailable, Exists, IO.
func (m *manager) install(ctx context.Context, path, text string) (err error) {
	if err := m.check(ctx); err != nil {
		return err
	}
	again, err := ours(path)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path) // that of ours, to put back
	if err != nil && again {
		return errs.New(errs.IO, "%w", err)
	}
	var down error
	if again {
		_, down = m.ctl(ctx, "is-active", "--quiet", unitName)
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	write := func(text []byte) error {
		return durable.WriteFile(path, 0o644, true, func(w io.Writer) error { _, err := w.Write(text); return err })
	}
	if err := write([]byte(text)); err != nil {
		return err
	}
	if _, err = m.ctl(ctx, "daemon-reload"); err == nil {
		if _, err = m.ctl(ctx, "enable", "--now", unitName); err == nil && again {
			_, err = m.ctl(ctx, "restart", unitName)
		}
	}
	if err == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if again {
		verb := "restart"
		if down != nil {
			verb = "stop"
		}
		return errors.Join(err, write(before), errorOf(m.ctl(ctx, "daemon-reload")), errorOf(m.ctl(ctx, "--no-block", verb, unitName)))
	}
	m.ctl(ctx, "disable", "--now", unitName) // it may not have come so far
	return errors.Join(err, os.Remove(path), errorOf(m.ctl(ctx, "daemon-reload")))
}

func errorOf(_ string, err error) error { return err }

// uninstalled is the document of service uninstall.
type uninstalled struct {
	Unit   string `json:"unit"` // path
	DryRun bool   `json:"dry_run,omitempty"`
}

func (c *cli) serviceUninstallCommand() *cobra.Command {
	var dryRun bool
	cmd, m := serviceVerb("uninstall", "stop the node that systemd runs, and take its unit away; its home stays")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and change nothing")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := m.path()
		if err != nil {
			return err
		}
		there, err := ours(path)
		if err != nil {
			return err
		}
		if !there {
			return errs.WithHint(errs.New(errs.FileNotFound, "there is no %s", path), "install one with: datamesh service install")
		}
		verb := "would stop the node and remove"
		if !dryRun {
			if err := m.uninstall(cmd.Context(), path); err != nil {
				return err
			}
			verb = "stopped the node and removed"
		}
		return c.print(uninstalled{path, dryRun}, func(w io.Writer) { fmt.Fprintf(w, "%s %s; the home stays\n", verb, path) })
	}
	return cmd
}

func (m *manager) uninstall(ctx context.Context, path string) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	if _, err := m.ctl(ctx, "disable", "--now", unitName); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	return errorOf(m.ctl(ctx, "daemon-reload"))
}

// serviceState is the document of service status.
type serviceState struct {
	Installed bool        `json:"installed"`
	Active    string      `json:"active"` // as systemd has it: active, inactive, failed, …
	Unit      string      `json:"unit"`
	Home      string      `json:"home"`
	Node      *node.Stats `json:"node"` // null: it does not answer
}

func (c *cli) serviceStatusCommand() *cobra.Command {
	cmd, m := serviceVerb("status", "say whether systemd runs the node, and how it is")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := c.serviceState(cmd.Context(), m)
		if err != nil {
			return err
		}
		err = c.print(s, func(w io.Writer) {
			row(w, "unit", s.Unit)
			row(w, "installed", yesNo(s.Installed))
			row(w, "active", s.Active)
			row(w, "home", s.Home)
			if s.Node != nil {
				printStats(w, s.Node)
			}
		})
		if err == nil && s.Node == nil {
			err = m.noNode(cmd.Context(), s)
		}
		return err
	}
	return cmd
}

// noNode is the error that no node answers, with what may bring one. Kind:
// NoNode.
func (m *manager) noNode(ctx context.Context, s serviceState) error {
	err := errs.New(errs.NoNode, "no node runs in %s", s.Home)
	no := m.check(ctx)
	switch {
	case no != nil:
		return errs.WithHint(errs.New(errs.NoNode, "no node runs in %s, and systemd does not run here", s.Home), "%s", errs.HintFor(no))
	case !s.Installed && !m.system && os.Geteuid() == 0:
		return errs.WithHint(err, "datamesh service install --system=false")
	case !s.Installed:
		return errs.WithHint(err, "datamesh service install")
	}
	return errs.WithHint(err, "see why with: datamesh service logs")
}

func (c *cli) serviceState(ctx context.Context, m *manager) (s serviceState, err error) {
	if s.Unit, err = m.path(); err != nil {
		return s, err
	}
	u, err := c.unit(m, false)
	if err != nil {
		return s, err
	}
	s.Home = u.Home
	if s.Installed, err = ours(s.Unit); err != nil {
		return s, err
	}
	s.Active, err = m.ctl(ctx, "is-active", unitName)
	if err != nil && len(strings.Fields(s.Active)) != 1 {
		s.Active = "unknown" // no state but an error: there is no systemd
	}
	client, err := api.Dial(ctx, config.Home(s.Home).Socket())
	if errors.Is(err, errs.NoNode) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer client.Close()
	s.Node, err = client.Stats(ctx)
	return s, err
}

func (c *cli) serviceLogsCommand() *cobra.Command {
	var follow bool
	cmd, m := serviceVerb("logs", "show what the node that systemd runs has logged")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it logs from now on")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		args := m.args("--unit="+unitName, "--no-pager")
		if follow {
			args = append(args, "--follow")
		}
		journal := exec.CommandContext(cmd.Context(), "journalctl", args...)
		journal.Stdout, journal.Stderr = c.out, c.err
		if err := journal.Run(); err != nil && cmd.Context().Err() == nil {
			return errs.New(errs.Unavailable, "journalctl: %w", err)
		}
		return nil
	}
	return cmd
}
