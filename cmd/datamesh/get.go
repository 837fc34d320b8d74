package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) getCommand() *cobra.Command {
	var force, dryRun bool
	var offset, length string
	var p password
	cmd := &cobra.Command{
		Use:     "get ID|NAME|PATTERN|CONTACT/NAME|LINK [OUT]",
		Aliases: []string{"download"},
		Short:   "read a file, or a directory, back",
		Long: `Reads an object back into the file OUT, or into the directory OUT under its
stored name; "-" is standard output. Without OUT it is the stored name, in the
current directory. What was lost is rebuilt.

The name of a directory reads back all that is stored below it, with
permissions, times and symbolic links, to the directory OUT. A pattern, in
which * and ? stand for no slash and ** for any number of directories, reads
back what it matches, by their names below OUT. What is there already with the
same size, permissions and time is not read again; what is there and differs is
left alone and reported, unless --force says to overwrite it. Snapshots of backups
are left out: "datamesh restore" brings back what they have.

With --offset and --length it reads a part of one file, and little more than that
comes over the network, unless it was compressed: then the segments that the part is
in, of up to 16 MiB each. A part is neither gone on with when it is interrupted, nor
given the time of the file.

What a contact shares with you is CONTACT/NAME, unless you have stored something of
that name, or its ID in your inbox. A LINK is opened without any identity.`,
		Args:              arity(1, 2),
		ValidArgsFunction: positional(c.completeObjects, completeFiles),
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite OUT; print binary content on a terminal")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be written where, and write nothing")
	cmd.Flags().StringVar(&offset, "offset", "0", "begin after so many bytes, a `SIZE` such as 1MiB")
	cmd.Flags().StringVar(&length, "length", "", "read so many bytes, a `SIZE` such as 64KiB, or what there is (default up to the end)")
	p.flags(cmd.Flags())
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"password-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var o node.GetOptions
		if flags := cmd.Flags(); flags.Changed("offset") || flags.Changed("length") {
			r, err := parseRange(offset, length)
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			o.Range = &r
		}
		if datamesh.IsLink(args[0]) {
			id, s, err := c.openLink(cmd.Context(), args[0], &p)
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			o.Link, args[0] = s, id // the link itself is never shown again
		} else if p.given(cmd.Flags()) {
			return errs.WithHint(errs.New(errs.Invalid, "only a link takes a password"), "leave the password out")
		}
		ref := args[0]
		ctx := cmd.Context()
		if len(args) == 2 && args[1] == "-" && !dryRun {
			return c.getStdout(ctx, ref, force, o)
		}
		dir, err := "", error(nil)
		if len(args) == 2 {
			dir = args[1]
		}
		switch {
		case dryRun:
			err = c.planGet(ctx, args, force, o)
		case len(args) == 1:
			err = c.getFile(ctx, &target{ref: ref, dir: ".", force: force}, o)
		default:
			out, bad := newTarget(ref, dir, force)
			if bad != nil {
				return bad
			}
			err = c.getFile(ctx, out, o)
		}
		if o.Range != nil && errors.Is(err, errTree) {
			return errs.WithHint(err, "only a file has parts; see what is below it: datamesh list %s/", errs.Word(ref))
		}
		if o.Link == nil && o.Range == nil && dir != "-" && (errors.Is(err, errTree) || errors.Is(err, errs.FileNotFound)) {
			err = c.getTree(ctx, ref, dir, force, dryRun, err)
		}
		if errors.Is(err, errTree) && dir != "-" {
			err = errs.WithHint(err, "have its owner share the files, or an archive of them: datamesh export DIR -o FILE.tar")
		}
		return err
	}
	return cmd
}

// parseRange reads a range; without a length it has no end. Kind: Invalid.
func parseRange(offset, length string) (node.Range, error) {
	from, err := config.ParseSize(offset)
	if err != nil {
		return node.Range{}, errs.WithHint(errs.New(errs.Invalid, "--offset: %w", err), "--offset 1MiB --length 64KiB")
	}
	n := config.Size(math.MaxInt64)
	if length != "" {
		if n, err = config.ParseSize(length); err != nil {
			return node.Range{}, errs.WithHint(errs.New(errs.Invalid, "--length: %w", err), "--offset 1MiB --length 64KiB")
		}
	}
	return node.Range{Offset: int64(from), Length: int64(n)}, nil
}

// toGet is withKeys, or withNode for what the secret of a link opens alone.
func (c *cli) toGet(secret *node.Secret) func(context.Context, func(api.Operations) error) error {
	if secret != nil {
		return c.withNode
	}
	return c.withKeys
}

// errPlanned ends a get that was only asked what it would do.
var errPlanned = errors.New("planned")

// planGet says what a get would write.
func (c *cli) planGet(ctx context.Context, args []string, force bool, o node.GetOptions) (err error) {
	out := &target{ref: args[0], dir: ".", force: force}
	toStdout := len(args) == 2 && args[1] == "-"
	if len(args) == 2 && !toStdout {
		if out, err = newTarget(args[0], args[1], force); err != nil {
			return err
		}
	}
	plan := node.Fetched{Out: "-", Bad: []node.BadShard{}, DryRun: true}
	return c.toGet(o.Link)(ctx, func(ops api.Operations) error {
		_, err := ops.Get(ctx, args[0], o, func(info node.ObjectInfo) (io.Writer, error) {
			refused := isTree
			if toStdout {
				refused = isStream
			}
			if err := refused(args[0], info); err != nil {
				return nil, err
			}
			plan.ID, plan.Name, plan.Size = info.ID, info.Name, info.Size
			if o.Range != nil {
				r, err := o.Range.Within(info.Size)
				if err != nil {
					return nil, err
				}
				plan.Range = &r
			}
			if toStdout {
				return nil, errPlanned
			}
			if err := out.settle(info); err != nil {
				return nil, err
			}
			plan.Out = out.path
			return nil, errPlanned
		})
		if !errors.Is(err, errPlanned) {
			return fmt.Errorf("get %s: %w", args[0], err)
		}
		return c.print(plan, func(w io.Writer) {
			fmt.Fprintf(w, "would write %s to %s\n", size(plan.Bytes()), plain(plan.Out))
		})
	})
}

// getFile reads an object into a file that appears when it is whole.
func (c *cli) getFile(ctx context.Context, out *target, o node.GetOptions) error {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return err
	}
	out.begin(home, o.Range != nil)
	defer out.abort()
	o.Transfer, o.Resume = newTransfer(), out.before()
	return c.toGet(o.Link)(ctx, func(ops api.Operations) error {
		stop := c.follow(ctx, ops, o.Transfer)
		fetched, err := ops.Get(ctx, out.ref, o, out.open)
		stop()
		if err != nil {
			err = fmt.Errorf("get %s: %w", out.ref, err)
			passes := ctx.Err() != nil || errs.Retryable(err) || errors.Is(err, errs.NoNode) // the service was restarted
			if passes && out.leave() {
				err = errs.WithHint(err, "type the same again: it goes on where it stopped")
			}
			return err
		}
		if err := out.commit(); err != nil {
			return err
		}
		fetched.Out = out.path
		c.noticeNewest(out.ref, fetched)
		c.warnBad(fetched)
		err = c.print(fetched, func(w io.Writer) {
			row(w, "id", fetched.ID)
			row(w, "name", fetched.Name)
			row(w, "size", size(fetched.Size))
			if r := fetched.Range; r != nil {
				row(w, "part", fmt.Sprintf("%s from byte %d on", size(r.Length), r.Offset))
			}
			row(w, "out", fetched.Out)
		})
		if err == nil && o.Link == nil {
			c.next("info %s", fetched.ID)
		}
		return err
	})
}

// getStdout writes an object, and nothing else, to standard output. The
// document of --json goes to standard error.
func (c *cli) getStdout(ctx context.Context, ref string, force bool, o node.GetOptions) error {
	var out io.Writer = output{c.out}
	if f, ok := c.out.(*os.File); ok && !force && term.IsTerminal(int(f.Fd())) {
		out = &terminal{w: out}
	}
	o.Transfer = newTransfer()
	var written atomic.Int64
	var failed error // some of the object is on standard output: it does not begin again behind that
	return c.toGet(o.Link)(ctx, func(ops api.Operations) error {
		if failed != nil {
			return failed
		}
		stop := c.follow(ctx, ops, o.Transfer)
		fetched, err := ops.Get(ctx, ref, o, func(info node.ObjectInfo) (io.Writer, error) {
			return counted{out, &written}, isStream(ref, info)
		})
		stop()
		if err != nil {
			err = fmt.Errorf("get %s: %w", ref, err)
			if written.Load() > 0 {
				failed = err
			}
			return err
		}
		fetched.Out = "-"
		c.noticeNewest(ref, fetched)
		c.warnBad(fetched)
		if c.json {
			return writeJSON(c.err, fetched)
		}
		return nil
	})
}

// isStream refuses what is not one stream of bytes. Kind: Invalid, or none.
func isStream(ref string, info node.ObjectInfo) error {
	err := isTree(ref, info)
	if errors.Is(err, errTree) {
		return errs.WithHint(err, "as an archive: datamesh export %s >FILE.tar", typable(ref, info.ID))
	}
	return err
}

// noticeNewest says that a name was that of several objects. The document of
// --json has it too.
func (c *cli) noticeNewest(ref string, fetched *node.Fetched) {
	if fetched.Named > 1 && !c.json {
		c.notice("%d objects are named %s: this is the newest, %s; see them with \"datamesh list\"", fetched.Named, ref, fetched.ID)
	}
}

func (c *cli) warnBad(fetched *node.Fetched) {
	for _, b := range fetched.Bad {
		c.warn("shard %d of %s was rebuilt: peer %s: %s", b.Index, b.Segment, b.Peer, b.Reason)
	}
}
