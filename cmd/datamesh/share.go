package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) shareCommand() *cobra.Command {
	var to, expires string
	var link bool
	var p password
	cmd := &cobra.Command{
		Use:   "share NAME|ID|DIR/",
		Short: "let somebody else read a file, without moving it",
		Long: `Shares a file that you have stored: with a contact, in whose inbox it appears, or
with whoever has a link. A second manifest is sealed for him, which has the keys of
the content; the content stays where it is. New content of the same name is not
shared by that. Of DIR/ each file below it is shared, as it is now; it ends with 3
when some could not be.

What is shared until a TIME is taken back by the service of a home of yours, or by
the next command that shares, or that takes back: nobody else does it, and until
then a link opens, and who has the id of a share reads it.

A link is a secret: it is printed once and kept nowhere, and whoever has it reads
the file. With a password it takes that, too; tell it on another way.`,
		Args:              arity(1, 1),
		ValidArgsFunction: positional(c.completeObjects),
	}
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "", "`CONTACT` who may read it")
	flags.BoolVar(&link, "link", false, "print a link, with which anybody in this mesh can read it")
	flags.StringVar(&expires, "expires", "", "`TIME` after which a home of yours takes it back, such as 12h or 30d (default never)")
	p.flags(flags)
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"to": c.completeContacts, "password-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := node.ShareOptions{To: to}
		if link == (to != "") {
			return errs.WithHint(errs.New(errs.Invalid, "a file is shared either with a contact or by a link"), "give either --to CONTACT or --link")
		}
		if p.given(flags) && !link {
			return errs.WithHint(errs.New(errs.Invalid, "only a link takes a password"), "leave the password out: what is shared with a contact only he can read")
		}
		if flags.Changed("expires") {
			var err error
			if o.Expires, err = config.ParseDays(expires); err != nil || o.Expires == 0 {
				return errs.WithHint(errs.New(errs.Invalid, "--expires: %q is no time such as 12h or 30d", expires), "datamesh share %s --to CONTACT --expires 30d", quoteWord(args[0]))
			}
		}
		if link && catalog.IsBelow(args[0]) {
			return errs.WithHint(errs.New(errs.Invalid, "a link is one to a file, and %s is a directory", args[0]), "datamesh share %s --to CONTACT", quoteWord(args[0]))
		}
		if link {
			return c.shareLink(cmd.Context(), args[0], o, &p)
		}
		return c.share(cmd.Context(), args[0], o, nil)
	}
	return cmd
}

// shareLink shares an object by a link. The node is told its recipient, and not
// the secret.
func (c *cli) shareLink(ctx context.Context, ref string, o node.ShareOptions, p *password) error {
	var link datamesh.Link
	rand.Read(link.Key[:]) // never fails
	text, given, err := p.read(ctx, c, true)
	if err != nil {
		return err
	}
	link.Password = given
	seed, err := crypt.LinkSeed(link.Key, text, given)
	if err != nil {
		return err
	}
	_, to, err := crypt.NewIdentity(seed)
	if err != nil {
		return err
	}
	o.Recipient = to.String()
	return c.share(ctx, ref, o, &link)
}

func (c *cli) share(ctx context.Context, ref string, o node.ShareOptions, link *datamesh.Link) error {
	return c.withKeys(ctx, func(ops api.Operations) error {
		dir, all, err := c.asDirectory(ctx, ops, ref, false)
		switch {
		case err != nil:
			return fmt.Errorf("share %s: %w", ref, err)
		case len(all) > 0 && (link != nil || !catalog.IsBelow(ref)):
			return errs.WithHint(errs.New(errs.Invalid, "share %s: it is a directory", ref), "datamesh share %s --to CONTACT", quoteWord(dir+"/"))
		case len(all) > 0:
			return c.shareEach(ctx, ops, dir, all, o)
		}
		s, err := ops.Share(ctx, ref, o)
		if err != nil {
			return fmt.Errorf("share %s: %w", ref, err)
		}
		if link != nil {
			link.Object = s.ID
			s.Link = link.Text()
		}
		err = c.print(s, func(w io.Writer) {
			row(w, "id", s.ID)
			row(w, "name", s.Name)
			row(w, "size", size(s.Size))
			if link == nil {
				row(w, "with", s.Contact)
			} else {
				row(w, "link", s.Link)
			}
			if !s.Until.IsZero() {
				row(w, "until", localTime(s.Until))
			}
		})
		c.warnAll(s.Warnings)
		if err == nil && link == nil {
			if !c.json {
				c.notice("%s finds it in the inbox of a home that has you as a contact, by the address that \"datamesh id\" prints here", s.Contact)
			}
			c.next("unshare %s --from %s # takes it back", s.Object, quoteWord(s.Contact))
		} else if err == nil {
			c.next("unshare %s --link %s # takes it back", s.Object, s.ID)
		}
		return err
	})
}

// shareEach shares the newest of each file within a directory.
func (c *cli) shareEach(ctx context.Context, ops api.Operations, dir string, all []node.Object, o node.ShareOptions) error {
	last := ""
	all = slices.DeleteFunc(all, func(x node.Object) bool { // the newest of a name comes first
		older := x.Name == last
		last = x.Name
		return older || fileKind(x.Type) != ""
	})
	return c.doEach(ctx, "share", fileShared, dir, all, false, func(x node.Object) ([]string, error) {
		s, err := ops.Share(ctx, x.ID.String(), o)
		if err != nil {
			return nil, err
		}
		return s.Warnings, nil
	})
}

// A password is that of a link: where it comes from.
type password struct {
	ask  bool
	file string
}

const maxPassword = 1 << 10 // bytes

func (p *password) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&p.ask, "password", false, "ask for a password of the link, which is not shown")
	flags.StringVar(&p.file, "password-file", "", "read the password of the link from the first line of `FILE`")
}

func (p *password) given(flags *pflag.FlagSet) bool {
	return p.ask || flags.Changed("password-file")
}

// read returns the password, if there is one. A new one is asked for twice.
// Kinds: Invalid, IO, FileNotFound.
func (p *password) read(ctx context.Context, c *cli, isNew bool) (text []byte, given bool, err error) {
	switch {
	case p.ask && p.file != "":
		return nil, false, errs.WithHint(errs.New(errs.Invalid, "the password is either typed or read from a file"), "give either --password or --password-file")
	case p.file != "":
		text, err = readPassword(p.file)
	case p.ask && !isTerminal(c.in):
		return nil, false, errs.WithHint(errs.New(errs.Invalid, "a password is typed on a terminal, and standard input is none"), "give --password-file FILE")
	case p.ask:
		var line, again string
		if line, err = c.askHidden(ctx, "the password of the link, which is not shown: "); err == nil && isNew {
			again, err = c.askHidden(ctx, "the same again: ")
			if err == nil && again != line {
				err = errs.WithHint(errs.New(errs.Invalid, "the two passwords differ"), "type the command again")
			}
		}
		text = []byte(line)
	default:
		return nil, false, nil
	}
	if err == nil && (len(text) == 0 || len(text) > maxPassword) {
		err = errs.WithHint(errs.New(errs.Invalid, "a password has 1 to %d bytes", maxPassword), "give one, or a link without")
	}
	return text, true, err
}

// readPassword returns the first line of a file.
func readPassword(file string) ([]byte, error) {
	f, err := os.Open(file)
	if os.IsNotExist(err) {
		return nil, errs.WithHint(errs.New(errs.FileNotFound, "%w", err), "check the path")
	}
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+2))
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return []byte(strings.TrimSuffix(line, "\r")), nil
}

// openLink returns the id of the object of a link, and what opens it. The work
// that a password takes is done before anything is asked of the mesh. Kind: Invalid.
func (c *cli) openLink(ctx context.Context, text string, p *password) (ref string, secret *node.Secret, err error) {
	link, err := datamesh.ParseLink(text)
	if err != nil {
		return "", nil, errs.WithHint(errs.New(errs.Invalid, "%w", err), "copy all of the link, and quote it: datamesh get 'LINK'")
	}
	pass, given, err := p.read(ctx, c, false)
	if err != nil {
		return "", nil, err
	}
	if link.Password && !given {
		if !isTerminal(c.in) {
			return "", nil, errs.WithHint(errs.New(errs.Invalid, "the link takes a password"), "give --password-file FILE")
		}
		ask := password{ask: true}
		if pass, _, err = ask.read(ctx, c, false); err != nil {
			return "", nil, err
		}
	}
	if given && !link.Password {
		return "", nil, errs.WithHint(errs.New(errs.Invalid, "the link takes no password"), "leave the password out")
	}
	seed, err := crypt.LinkSeed(link.Key, pass, link.Password)
	return link.Object.String(), (*node.Secret)(&seed), err
}
