package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/compress"
	"datamesh/internal/config"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
	"datamesh/internal/object"
	"datamesh/internal/partial"
)

// commitTime is how long the catalog may take to note an object whose shards
// are stored.
const commitTime = 30 * time.Second

// CheckName refuses a name that the catalog would, and one that no get would
// look up because it reads like an id. Kind: Invalid.
func CheckName(name string) error {
	var err error
	if len(name) > catalog.MaxName || !utf8.ValidString(name) {
		err = errs.New(errs.Invalid, "a name is at most %d bytes of UTF-8", catalog.MaxName)
	} else if _, notID := datamesh.ParseObjectID(name); !errors.Is(notID, datamesh.ErrNoID) {
		err = errs.New(errs.Invalid, "the name %q would be taken for an id", name)
	} else {
		return nil
	}
	return errs.WithHint(err, "give another with --name NAME")
}

// Put stores what r has until its end. Kinds: as [object.Objects.Put].
func (n *Node) Put(ctx context.Context, r io.Reader, o PutOptions) (stored *Stored, err error) {
	began := time.Now()
	defer func() { n.putEnded(began, stored, err) }()
	opt := object.PutOptions{Name: o.Name, Tags: o.Tags, Mode: o.Mode, ModTime: o.ModTime, Type: o.Type, MinSurvives: -1}
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	var warnings []string
	for _, text := range o.To {
		to, err := n.recipient(text)
		if err != nil {
			return nil, err
		}
		if to.Classic() {
			warnings = append(warnings, fmt.Sprintf("recipient %.24s… is classic: a quantum computer could open this object one day", text))
		}
		opt.To = append(opt.To, to)
	}
	if opt.Compress, err = n.compress(o.Compress); err != nil {
		return nil, err
	}
	if o.MinSurvives != nil {
		if opt.MinSurvives = *o.MinSurvives; opt.MinSurvives < 0 {
			return nil, errs.New(errs.Invalid, "--min-survives %d: it must not be negative", opt.MinSurvives)
		}
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	members := l.view().Len()
	code, err := n.code(o.Code, members)
	if err != nil {
		return nil, err
	}
	opt.K, opt.M = code.K, code.M
	if opt.Source, err = sourceOf(o.Source); err != nil {
		return nil, err
	}
	p := &progress{kind: PutTransfer, name: o.Name, code: code}
	p.size.Store(cmp.Or(o.Size, -1))
	defer n.board.begin(o.Transfer, p)()
	if opt.Type == "" {
		opt.Type, r = typed(r, o.Name)
	}
	opt.Events, opt.Stored = p.events(), n.stored(context.WithoutCancel(ctx))
	result, err := l.objects.Put(ctx, r, opt, func(p object.PutResult) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
		defer cancel()
		return n.catalog.Add(ctx, catalog.Entry{ID: p.ID, Name: o.Name, Size: p.Size, Tags: o.Tags,
			Created: createdAt(o.Created), StoredBytes: p.StoredBytes, Type: opt.Type, Mode: o.Mode, ModTime: o.ModTime, Epoch: p.Epoch})
	})
	if err != nil {
		return nil, err
	}
	if !o.Unnamed {
		if err := n.publish(ctx, l); err != nil {
			warnings = append(warnings, unnamed(err))
		}
	}
	return &Stored{ID: result.ID, Name: o.Name, Size: result.Size, StoredBytes: result.StoredBytes,
		Segments: result.Segments, Shards: result.Shards, Peers: result.Peers, Survives: result.Survives, Resumed: result.Resumed,
		Warnings: append(warnings, cautions(l, members, result)...)}, nil
}

// createdAt is when an object is said to have been stored.
func createdAt(asked time.Time) time.Time {
	if asked.IsZero() {
		asked = time.Now()
	}
	return asked.UTC()
}

// recipient reads a recipient, and has its plugin say what it is. A node that
// stores for others runs no programs of plugins. Kinds: Invalid, KeyManagement.
func (n *Node) recipient(text string) (crypt.Recipient, error) {
	to, err := crypt.ParseRecipient(text)
	if err != nil || to.Plugin() == "" {
		return to, err
	}
	if n.secrets.Plugins == nil {
		return to, errs.WithHint(errs.New(errs.Invalid, "recipient %.24s… needs the program age-plugin-%s, which a service does not run", text, to.Plugin()),
			"put it by a command: datamesh put FILE --to RECIPIENT")
	}
	return to.Through(n.secrets.Plugins)
}

// code returns the code of a put: the one that is asked for, or that of the
// settings.
func (n *Node) code(asked string, members int) (config.Code, error) {
	if asked != "" {
		return config.ParseCode(asked)
	}
	code := n.opt.Config.Put.Code
	if members == 2 {
		code.M = max(code.M, code.K) // either of the two may go
	}
	return code, nil
}

// compress returns how hard to compress: as is asked for, or as the settings say. Kind: Invalid.
func (n *Node) compress(asked string) (compress.Mode, error) {
	return compress.ParseMode(cmp.Or(asked, n.opt.Config.Put.Compress))
}

// Plan says what a put of o.Size bytes would come to if nothing of it were compressed,
// and stores nothing.
// Kinds: Invalid, Unavailable.
func (n *Node) Plan(ctx context.Context, o PutOptions) (*Planned, error) {
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	code, err := n.code(o.Code, l.view().Len())
	if err != nil {
		return nil, err
	}
	p := l.objects.Plan(o.Size, code.K, code.M)
	return &Planned{Name: o.Name, Size: p.Size, StoredBytes: p.StoredBytes, Segments: p.Segments, Shards: p.Shards,
		Peers: p.Peers, Survives: p.Survives, DryRun: true}, nil
}

// sourceOf reads what stands for the content of a put. Kind: Invalid.
func sourceOf(text string) (s object.Source, err error) {
	if text == "" {
		return s, nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return s, errs.New(errs.Invalid, "%q is not a source of 64 hex digits", text)
	}
	return object.Source(b), nil
}

// cautions tells what a user should know of an object that is stored, but not
// as safely as it could be.
func cautions(l *link, members int, r object.PutResult) (all []string) {
	if r.Missing > 0 {
		all = append(all, fmt.Sprintf("%d of %d shards were not acknowledged in time", r.Missing, r.Missing+r.Shards))
	}
	switch {
	case l.net == nil:
		all = append(all, `this home has no mesh: the object is on this machine alone and survives no loss; start a mesh with "datamesh bootstrap --port 40871" here and add nodes with "datamesh service" on other machines`)
	case r.Survives == 0 && members < 2:
		all = append(all, `the mesh has one member: the object survives no loss; add nodes with "datamesh service" on other machines`)
	case r.Survives == 0:
		all = append(all, "the object survives no loss")
	}
	return all
}

// sweep has the leftovers of gets and puts that died deleted: at once, and in a
// service now and then, since the peers that have them may be away.
func (n *Node) sweep(l *link) {
	for retry := firstRetry; ; {
		if err := partial.Sweep(n.home.Gets(), n.opt.Config.Put.Resume); err != nil {
			n.log.Warn("leftovers of an interrupted get could not be deleted", "error", err)
		}
		err := n.sweepOnce(n.ctx, l)
		if n.ctx.Err() != nil {
			return
		}
		if err != nil {
			n.log.Warn("leftovers of an interrupted put could not be deleted", "error", err)
		}
		if n.opt.Role != Storage {
			return // it goes on with no deletion: another command may bring back what it deletes
		}
		pause := sweepInterval
		if err := n.finishDeletions(n.ctx, l); err == nil {
			retry = firstRetry
		} else if n.ctx.Err() == nil {
			n.log.Warn("a deletion that was interrupted cannot go on yet", "error", err)
			pause, retry = retry, min(2*retry, sweepInterval)
		}
		select {
		case <-time.After(pause):
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) sweepOnce(ctx context.Context, l *link) error {
	swept, err := n.journal.Sweep(ctx, &members{l}, n.stored(ctx))
	if swept > 0 {
		n.log.Info("leftovers of an interrupted put were deleted", "segments", swept)
	}
	return err
}

// stored tells which objects the catalog knows, those that are deleted included,
// and its own.
func (n *Node) stored(ctx context.Context) object.Stored {
	return func(id datamesh.ObjectID) (bool, error) {
		if run, err := n.catalog.IsRun(ctx, id); err != nil || run {
			return run, err
		}
		if share, err := n.catalog.IsShare(ctx, id); err != nil || share {
			return share, err
		}
		if was, err := n.catalog.WasObject(ctx, id); err != nil || was {
			return was, err // its content is that of another manifest now
		}
		_, err := n.catalog.ByID(ctx, id)
		if errs.KindOf(err) == errs.FileNotFound {
			_, err = n.catalog.DeletedByID(ctx, id)
		}
		if errs.KindOf(err) == errs.FileNotFound {
			return false, nil
		}
		return err == nil, err
	}
}

const (
	sweepInterval = 10 * time.Minute
	firstRetry    = 5 * time.Second // of a deletion, which waits longer and longer
)
