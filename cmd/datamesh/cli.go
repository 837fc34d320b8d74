package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// cli is one command line: its streams and what holds for all commands.
type cli struct {
	in       io.Reader
	out, err io.Writer

	homeDir       string
	json          bool
	quiet         bool
	verbose       bool
	bootstrapPeer string
	bootstrapAddr string
	passphrase    string // the file of it
	identity      string // the name of the one that is used; "": as the home says

	ctx        context.Context // of the command that runs
	mayMake    bool            // it may make the identity that --identity names
	inConsole  bool            // the line was typed in a console, which has standard input
	completing bool            // the line asks how another can go on
}

func (c *cli) root() *cobra.Command {
	root := c.group(&cobra.Command{
		Use:   "datamesh",
		Short: "store files on a mesh of peers that can neither read nor lose them",
		Long: `DataMesh seals files on this machine, cuts them into shards and spreads those
over a mesh of peers. Any few peers may vanish and a file still reads.`,
	})
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return errs.WithHint(flagError(err), `see "%s --help"`, cmd.CommandPath())
	})
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		c.ctx = cmd.Context()
		if c.identity == "" && cmd.Flags().Changed("identity") {
			return errs.WithHint(errs.New(errs.Invalid, "--identity is empty"), "name one, or leave --identity out; see datamesh keys list")
		}
		if c.passphrase == "" && cmd.Flags().Changed("passphrase-file") {
			return errs.WithHint(errs.New(errs.Invalid, "--passphrase-file is empty"), "name a file, or leave --passphrase-file out")
		}
		if c.homeDir == "" && cmd.Flags().Changed("home") {
			return errs.WithHint(errs.New(errs.Invalid, "--home is empty"), "give a directory, or leave --home out for the usual one")
		}
		return nil
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.DisableAutoGenTag = true // so that the same program generates the same documents
	flags := root.PersistentFlags()
	flags.StringVar(&c.homeDir, "home", "", "`DIR` that keeps everything (default $DATAMESH_HOME, else datamesh in the user's data directory)")
	flags.BoolVar(&c.json, "json", false, "print one JSON document")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "print no notices, no next steps and no progress; warnings stay")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "log what goes on (log.level debug), and say all that is known of an error")
	flags.StringVar(&c.bootstrapPeer, "bootstrap-peer", "", "`PEER_ID` of a member to join the mesh through; remembered")
	flags.StringVar(&c.bootstrapAddr, "bootstrap-addr", "", "`ADDR` of that member, such as /ip4/192.0.2.7/tcp/40871")
	flags.StringVar(&c.identity, "identity", "", "`NAME` of the identity, of several in this home, that this is for (default the one that keys use has named)")
	flags.StringVar(&c.passphrase, "passphrase-file", "", "read the passphrase of your identity from `FILE` (default keys.passphrase_file; else it is asked for)")
	root.AddCommand(
		c.bootstrapCommand(), c.serviceCommand(), c.idCommand(),
		c.putCommand(), c.getCommand(), c.syncCommand(), c.listCommand(), c.infoCommand(), c.rmCommand(), c.undeleteCommand(),
		c.renameCommand(), c.copyCommand(), c.tagCommand(), c.pinCommand(), c.unpinCommand(),
		c.versionsCommand(), c.recentCommand(), c.searchCommand(),
		c.exportCommand(), c.importCommand(),
		c.contactCommand(), c.shareCommand(), c.unshareCommand(), c.inboxCommand(),
		c.healthCommand(),
		c.metricsCommand(),
		c.auditCommand(),
		c.backupCommand(), c.backupsCommand(), c.restoreCommand(),
		c.bandwidthCommand(),
		c.benchmarkCommand(),
		c.cleanupCommand(),
		c.discoverCommand(),
		c.doctorCommand(),
		c.scrubCommand(),
		c.receiptsCommand(),
		c.recoverCommand(),
		c.repairCommand(),
		c.simulateCommand(),
		c.peersCommand(), c.statsCommand(), c.transfersCommand(), c.keysCommand(), c.demoCommand(), c.versionCommand(),
		c.configCommand(),
		c.pathsCommand(),
		c.networksCommand(),
		c.interactiveCommand(),
		c.completionCommand(),
		c.generateCommand(),
		exitCodesTopic(),
		environmentTopic())
	root.SetHelpCommand(c.helpCommand())
	c.completeFlags(root, map[string]cobra.CompletionFunc{
		"home":            completeDirs,
		"bootstrap-peer":  c.completePeers,
		"bootstrap-addr":  c.completeAddrs,
		"passphrase-file": completeFiles,
		"identity":        c.completeIdentities,
	})
	return root
}

// group makes a command of one that has commands below it. Alone it does what
// its RunE says, or else tells of them.
func (c *cli) group(cmd *cobra.Command) *cobra.Command {
	alone := cmd.RunE
	if alone == nil {
		cmd.Annotations = map[string]string{onlyHelps: ""}
		alone = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return noCommand(cmd, args[0])
		}
		return alone(cmd, args)
	}
	return cmd
}

// onlyHelps marks a command that does nothing but tell of those below it.
const onlyHelps = "only helps"

// flagError says in plain words what is wrong with a flag.
func flagError(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return errs.New(errs.Invalid, "%w", err)
	}
	why := "cannot be understood"
	switch {
	case errors.Is(err, strconv.ErrRange):
		why = "is too large"
	case errors.Is(err, strconv.ErrSyntax) && bad.GetFlag().Value.Type() == "bool":
		why = "is neither true nor false"
	case errors.Is(err, strconv.ErrSyntax):
		why = "is no whole number from 0 up"
	}
	return errs.New(errs.Invalid, "--%s: %q %s", bad.GetFlag().Name, bad.GetValue(), why)
}

// noCommand says that cmd has no command of that name, and which is nearest.
func noCommand(cmd *cobra.Command, name string) error {
	err := errs.New(errs.Invalid, "there is no command %q", cmd.CommandPath()+" "+name)
	for distance := 1; distance <= 2; distance++ {
		cmd.SuggestionsMinimumDistance = distance
		if like := cmd.SuggestionsFor(name); len(like) > 0 {
			return errs.WithHint(err, `did you mean "%s %s"?`, cmd.CommandPath(), like[0])
		}
	}
	return errs.WithHint(err, `see "%s --help"`, cmd.CommandPath())
}

// arity accepts least to most arguments, or, if most is negative, any more.
func arity(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (len(args) <= most || most < 0) {
			return nil
		}
		want := count(least, "argument")
		switch {
		case most < 0:
			want = "at least " + want
		case most > least:
			want = fmt.Sprintf("%d to %d arguments", least, most)
		}
		return errs.WithHint(errs.New(errs.Invalid, "%s takes %s, not %d", cmd.CommandPath(), want, len(args)),
			"type %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
}

// options returns how a node of this command line is opened, with flags that
// are settings, by key.
func (c *cli) options(role node.Role, flags map[string]string) (node.Options, error) {
	o := node.Options{Role: role, Port: -1, Version: version}
	var err error
	if o.Home, err = config.FindHome(c.homeDir); err != nil {
		return o, err
	}
	if o.Config, err = c.load(o.Home, flags); err != nil {
		return o, err
	}
	if o.User, err = c.userOf(o.Home); err != nil {
		return o, err
	}
	o.Keys = c.keysOf(o.User, o.Config)
	if role == node.Client {
		o.Keys.Plugins = c.pluginUI()
	} else if o.Config.Keys.PassphraseFile == "" {
		o.Keys.Ask = nil // nobody sits before a service
	}
	o.Log = c.logger(o.Config.Log)
	if role == node.Client && !c.verbose {
		o.Log = slog.New(slog.DiscardHandler) // a command says what matters itself
		o.Warn = func(text string) { c.warn("%s", text) }
	}
	if _, given := flags["mesh.port"]; given || o.Config.Mesh.Port != 0 {
		o.Port = o.Config.Mesh.Port
	}
	o.Bootstrap, err = c.bootstrap()
	return o, err
}

// load returns the settings of a home, with flags that are settings, by key.
func (c *cli) load(home config.Home, flags map[string]string) (config.Config, error) {
	all := map[string]string{}
	if c.verbose {
		all["log.level"] = "debug"
	}
	if c.passphrase != "" {
		file, err := filepath.Abs(c.passphrase)
		if err != nil {
			return config.Config{}, errs.New(errs.IO, "%w", err)
		}
		all["keys.passphrase_file"] = file
	}
	maps.Copy(all, flags)
	return config.Load(home, os.Environ(), all)
}

func (c *cli) logger(l config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.err, options))
	}
	return slog.New(slog.NewTextHandler(c.err, options))
}

// bootstrap returns the member that the flags name, or none.
func (c *cli) bootstrap() ([]config.Peer, error) {
	if c.bootstrapPeer == "" && c.bootstrapAddr == "" {
		return nil, nil
	}
	if c.bootstrapPeer == "" || c.bootstrapAddr == "" {
		return nil, errs.WithHint(errs.New(errs.Invalid, "--bootstrap-peer and --bootstrap-addr belong together"),
			"copy both from what the other node printed when it began")
	}
	id, err := datamesh.ParsePeerID(c.bootstrapPeer)
	if err != nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "--bootstrap-peer: %w", err),
			"copy it from what the other node printed when it began")
	}
	return []config.Peer{{ID: id, Addr: c.bootstrapAddr}}, nil
}

// noticeIdentity runs f, which may make the identity of the user, and says so
// if it did. A program that reads errors as JSON finds nothing before them.
func (c *cli) noticeIdentity(user config.User, f func() error) error {
	_, before := os.Lstat(user.Identity())
	err := f()
	_, after := os.Lstat(user.Identity())
	if errors.Is(before, fs.ErrNotExist) && after == nil && (err == nil || !c.json) {
		c.notice("your identity was made and lies in %s. If it is lost, so is everything that was stored with it: write down its words, which \"datamesh keys init\" shows, or copy it to a safe place with \"datamesh keys export FILE\".", user.Identity())
	}
	return err
}

// print writes the result of a command: v as JSON, or what text writes.
func (c *cli) print(v any, text func(io.Writer)) error {
	if c.json {
		return writeJSON(c.out, v)
	}
	table := newTable(c.out)
	text(table)
	return outputError(table.Flush())
}

func writeJSON(w io.Writer, v any) error {
	text, err := api.Text(v)
	if err == nil {
		_, err = w.Write(text)
	}
	return outputError(err)
}

func outputError(err error) error {
	if err != nil {
		return errs.WithHint(errs.New(durable.KindOf(err), "write the result: %w", err), "write it where there is room, and where you may")
	}
	return nil
}

// An output is standard output, whose errors have their kind.
type output struct{ w io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	return n, outputError(err)
}

// warn tells people, and not programs, of something that is no error.
func (c *cli) warn(format string, args ...any) {
	if !c.json {
		fmt.Fprintf(c.err, "warning: %s\n", plain(fmt.Sprintf(format, args...)))
	}
}

// notice says, to standard error, what a command has done beside its work.
func (c *cli) notice(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.err, "notice: %s\n", plain(fmt.Sprintf(format, args...)))
	}
}

// next tells people what they would most likely type now, after "datamesh". In
// a shell that goes to the same home and identity only if they are named again.
func (c *cli) next(format string, args ...any) {
	if c.identity != "" && !c.inConsole {
		format, args = "--identity %s "+format, append([]any{quoteWord(c.identity)}, args...)
	}
	if c.homeDir != "" && !c.inConsole {
		format, args = "--home %s "+format, append([]any{quoteWord(c.homeDir)}, args...)
	}
	c.nextElsewhere(format, args...)
}

// nextElsewhere is next for what is typed in another home.
func (c *cli) nextElsewhere(format string, args ...any) {
	if !c.json && !c.quiet {
		fmt.Fprintf(c.err, "next: datamesh %s\n", plain(fmt.Sprintf(format, args...)))
	}
}
