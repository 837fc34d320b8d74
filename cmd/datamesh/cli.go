package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/config"
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
		c.putCommand(), c.getCommand(), c.listCommand(), c.infoCommand(), c.rmCommand(), c.undeleteCommand(),
		c.renameCommand(), c.copyCommand(), c.tagCommand(), c.pinCommand(), c.unpinCommand(),
		c.versionsCommand(), c.recentCommand(), c.searchCommand(),
		c.contactCommand(), c.shareCommand(), c.unshareCommand(), c.inboxCommand(),
		c.healthCommand(),
		c.metricsCommand(),
		c.auditCommand(),
		c.backupCommand(), c.backupsCommand(), c.restoreCommand(),
		c.bandwidthCommand(),
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

// withNode runs f with the operations of the home's running node, or else with
// those of a client that is part of this process.
func (c *cli) withNode(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return c.nodeOf(ctx, o, anyUser, f)
}

// withCatalog is withNode for what is in the catalog of the user, or goes there.
// A running node that is another identity's does not do that; then a client does.
func (c *cli) withCatalog(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	return c.nodeOf(ctx, o, ofUser, f)
}

// anyUser and ofUser say whether a node will do that runs in the home.
func anyUser(context.Context, *api.Client, node.Options) (bool, error) { return true, nil }

func ofUser(ctx context.Context, running *api.Client, o node.Options) (bool, error) {
	if several, err := o.Home.Several(); err != nil || !several {
		return err == nil, err
	}
	id, err := running.Identity(ctx)
	return id.Name == o.User.Name, err
}

// openToUser is ofUser, and asks that the node has the keys open.
func openToUser(ctx context.Context, running *api.Client, o node.Options) (bool, error) {
	id, err := running.Identity(ctx)
	return id.Name == o.User.Name && !id.Locked, err
}

// nodeOf runs f with the operations of the home's running node, if that will do,
// or else with those of a client.
func (c *cli) nodeOf(ctx context.Context, o node.Options, does func(context.Context, *api.Client, node.Options) (bool, error), f func(api.Operations) error) error {
	return c.noticeIdentity(o.User, func() error {
		if err := o.Home.Make(); err != nil {
			return err
		}
		client, err := api.Dial(ctx, o.Home.Socket())
		if err == nil {
			defer client.Close()
			if err := c.checkBootstrap(ctx, client, o); err != nil {
				return err
			}
			if ok, err := does(ctx, client, o); err != nil {
				return err
			} else if ok {
				return f(client)
			}
		} else if !errors.Is(err, errs.NoNode) {
			return err
		}
		return c.asClient(ctx, o, f)
	})
}

// asClient runs f with the operations of a client that is part of this process.
func (c *cli) asClient(ctx context.Context, o node.Options, f func(api.Operations) error) error {
	n, err := node.Open(ctx, o)
	if err != nil {
		return err
	}
	err = f(n)
	if closed := closeNode(ctx, n); closed != nil {
		c.warn("leave the mesh: %v", closed) // what f did is done
	}
	return err
}

// withKeys is withCatalog for what needs the keys of the user. If they have a
// passphrase that the home's running node does not know, this process asks for
// it and does the work, as a client: neither it nor the keys go anywhere.
func (c *cli) withKeys(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	byNode := false
	err = c.withOpenKeys(ctx, o, func(ops api.Operations) error {
		_, here := ops.(*node.Node)
		byNode = !here
		return f(ops)
	})
	if !byNode || !errors.Is(err, errs.Decryption) {
		return err
	}
	// The node runs no plugins, one of which may have the key.
	if ring, e := o.Keys.Load(); e != nil || len(ring.Plugins) == 0 {
		return err
	}
	return c.asClient(ctx, o, f)
}

func (c *cli) withOpenKeys(ctx context.Context, o node.Options, f func(api.Operations) error) error {
	if sealed, err := o.Keys.Protected(); err != nil || !sealed {
		return c.nodeOf(ctx, o, ofUser, f) // which says what is wrong with them, if anything is
	}
	return c.nodeOf(ctx, o, openToUser, opened(o, f))
}

// opened is f, before which a client has the keys opened: not below a progress
// bar.
func opened(o node.Options, f func(api.Operations) error) func(api.Operations) error {
	return func(ops api.Operations) error {
		if _, here := ops.(*node.Node); here {
			if _, err := o.Keys.Load(); err != nil && !errors.Is(err, errs.FileNotFound) {
				return err
			}
		}
		return f(ops)
	}
}

// withPlugins is withKeys for what needs the programs of plugins: a client does
// that, whether a node runs or not.
func (c *cli) withPlugins(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	never := func(context.Context, *api.Client, node.Options) (bool, error) { return false, nil }
	return c.nodeOf(ctx, o, never, opened(o, f))
}

// withService runs f with the operations of the home's running node, and not
// without one: it is for what the node of one command does not have. Kind:
// NoNode.
func (c *cli) withService(ctx context.Context, f func(api.Operations) error) error {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return err
	}
	client, err := api.Dial(ctx, o.Home.Socket())
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// checkBootstrap refuses a member of another mesh than that of the home's
// running node, which would make no use of it. One that the node does not know
// is met as a client would. Kinds: Authentication, Unavailable.
func (c *cli) checkBootstrap(ctx context.Context, running api.Operations, o node.Options) error {
	if len(o.Bootstrap) == 0 {
		return nil
	}
	self, err := running.Identity(ctx)
	if err != nil || self.PeerID == o.Bootstrap[0].ID {
		return err
	}
	known, err := running.Peers(ctx)
	if err != nil || slices.ContainsFunc(known.Peers, func(p node.Peer) bool { return p.PeerID == o.Bootstrap[0].ID }) {
		return err
	}
	n, err := node.Open(ctx, o)
	if err != nil {
		return err
	}
	if err := closeNode(ctx, n); err != nil {
		c.warn("leave the mesh: %v", err)
	}
	return nil
}

// closeNode closes n even when ctx has ended, but does not wait for ever.
func closeNode(ctx context.Context, n *node.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return n.Close(ctx)
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

// controls are what encoding/json lets through and a terminal may obey.
var controls = regexp.MustCompile(`[\x{7f}-\x{9f}]`)

func writeJSON(w io.Writer, v any) error {
	text, err := jsonText(v)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	return outputError(err)
}

// jsonText returns the JSON of v and the end of its line.
func jsonText(v any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return controls.ReplaceAllStringFunc(b.String(), func(s string) string {
		return fmt.Sprintf(`\u%04x`, []rune(s)[0])
	}), nil
}

func outputError(err error) error {
	if err != nil {
		return errs.New(errs.IO, "write the result: %w", err)
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
// a shell that goes to the same home only if it is named again.
func (c *cli) next(format string, args ...any) {
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
