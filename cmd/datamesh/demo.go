package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"datamesh"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

const (
	demoNodes = 6        // fewest nodes that hold an object of 4+2 one shard each
	demoLost  = 2        // nodes that are killed
	demoSize  = 64 << 20 // bytes of the file that is generated
)

func (c *cli) demoCommand() *cobra.Command {
	var nodes uint16
	cmd := &cobra.Command{
		Use:   "demo [FILE]",
		Short: "see it work: six nodes on this machine, two of them killed",
		Long: `Starts real nodes as processes of their own on this machine, puts FILE or a
generated one, kills two nodes that hold it, gets it back as somebody with no
more than the identity, compares, and cleans up.`,
		Args:              arity(0, 1),
		ValidArgsFunction: positional(completeFiles),
	}
	cmd.Flags().Uint16Var(&nodes, "nodes", demoNodes, "`N` nodes to start, at least 6")
	c.completeFlags(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if nodes < demoNodes {
			return errs.WithHint(errs.New(errs.Invalid, "a demo needs at least %d nodes: a file is spread over as many", demoNodes),
				"datamesh demo --nodes %d", demoNodes)
		}
		file := ""
		if len(args) == 1 {
			file = args[0]
			source, err := openSource(cmd.Context(), file)
			if err != nil {
				return err
			}
			source.Close()
		}
		return c.demo(cmd.Context(), int(nodes), file)
	}
	return cmd
}

// A demo is one run of the demonstration.
type demo struct {
	cli    *cli
	dir    string // holds all homes and files
	exe    string
	nodes  []*process
	began  time.Time // of the current step
	report demoReport
}

// demoReport is the document of demo --json.
type demoReport struct {
	Nodes int        `json:"nodes"`
	Steps []demoStep `json:"steps"`
	Same  bool       `json:"same"` // every byte came back
}

type demoStep struct {
	Name     string  `json:"name"`
	Detail   string  `json:"detail"`
	Seconds  float64 `json:"seconds"`
	Size     int64   `json:"size,omitempty"`
	Survives *int    `json:"survives,omitempty"`
}

func (c *cli) demo(ctx context.Context, nodes int, file string) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	dir, err := os.MkdirTemp("", "datamesh-demo-")
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	d := &demo{cli: c, dir: dir, exe: exe, began: time.Now(), report: demoReport{Nodes: nodes}}
	defer func() {
		d.killAll()
		if rm := os.RemoveAll(dir); err == nil && rm != nil {
			err = errs.New(errs.IO, "clean up: %w", rm)
		}
	}()
	if err := d.run(ctx, nodes, file); err != nil {
		return err
	}
	return d.finish()
}

// run is the story.
func (d *demo) run(ctx context.Context, nodes int, file string) error {
	if err := d.startNodes(ctx, nodes); err != nil {
		return err
	}
	d.done(demoStep{Name: "start", Detail: fmt.Sprintf("started %d nodes, each a process with a home of its own", nodes)})

	if err := d.waitForAll(ctx); err != nil {
		return err
	}
	d.done(demoStep{Name: "meet", Detail: fmt.Sprintf("every node sees the %d others", nodes-1)})

	if file == "" {
		var err error
		if file, err = d.generate(); err != nil {
			return err
		}
		d.done(demoStep{Name: "generate", Detail: "made a random file of " + size(demoSize), Size: demoSize})
	}

	stored, err := d.put(ctx, file)
	if err != nil {
		return err
	}
	if stored.Survives < demoLost {
		return errs.WithHint(errs.New(errs.Degraded, "the file survives %s, and %d nodes were to be killed", survives(stored.Survives), demoLost),
			"type the same again when this machine is less busy")
	}
	lost, err := d.killHolders(ctx, stored.ID)
	if err != nil {
		return err
	}
	d.done(demoStep{Name: "kill", Detail: fmt.Sprintf("killed %d nodes that hold shards of it: %s", len(lost), strings.Join(lost, ", "))})

	copied, err := d.getElsewhere(ctx, stored.ID)
	if err != nil {
		return err
	}
	if err := sameFile(file, copied); err != nil {
		return err
	}
	d.report.Same = true
	d.done(demoStep{Name: "compare", Detail: "compared the two files: every byte is the same", Size: stored.Size})
	return nil
}

// done ends a step and tells it.
func (d *demo) done(s demoStep) {
	now := time.Now()
	s.Seconds = now.Sub(d.began).Seconds()
	d.began = now
	d.report.Steps = append(d.report.Steps, s)
	if !d.cli.json {
		fmt.Fprintf(d.cli.out, "%d. %s (%.1f s)\n", len(d.report.Steps), plain(s.Detail), s.Seconds)
	}
}

// finish tells what was shown.
func (d *demo) finish() error {
	return d.cli.print(d.report, func(w io.Writer) {
		fmt.Fprintf(w, "%d of %d nodes were lost and the file was not. Begin a mesh of your own: datamesh bootstrap --port 40871\n", demoLost, d.report.Nodes)
	})
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// generate makes a file that does not compress.
func (d *demo) generate() (string, error) {
	file := d.path("generated.bin")
	return file, durable.WriteFile(file, 0o600, false, func(w io.Writer) error {
		_, err := io.CopyN(w, rand.Reader, demoSize)
		return err
	})
}

// put stores the file with a client that is none of the nodes.
func (d *demo) put(ctx context.Context, file string) (*node.Stored, error) {
	stored := new(node.Stored)
	if err := d.command(ctx, "owner", stored, "put", file); err != nil {
		return nil, err
	}
	d.done(demoStep{
		Name: "put", Size: stored.Size, Survives: &stored.Survives,
		Detail: fmt.Sprintf("put it, sealed: %s became %s in %s on %s; it survives %s", size(stored.Size), size(stored.StoredBytes),
			count(stored.Shards, "shard"), count(stored.Peers, "peer"), survives(stored.Survives)),
	})
	return stored, nil
}

// killHolders kills nodes that hold shards of the object and names them.
func (d *demo) killHolders(ctx context.Context, id datamesh.ObjectID) ([]string, error) {
	info := new(node.Info)
	if err := d.command(ctx, "owner", info, "info", id.String()); err != nil {
		return nil, err
	}
	holds := map[datamesh.PeerID]bool{}
	for _, segment := range info.Segments {
		for _, shard := range segment.Shards {
			holds[shard.Peer] = holds[shard.Peer] || shard.Live
		}
	}
	var lost []string
	for _, p := range d.nodes {
		if len(lost) < demoLost && holds[p.ready.PeerID] {
			p.kill()
			lost = append(lost, p.ready.PeerID.String())
		}
	}
	if len(lost) < demoLost {
		return nil, errs.New(errs.Degraded, "only %d nodes hold shards of it", len(lost))
	}
	return lost, nil
}

// getElsewhere reads the object from a home that has nothing but the identity.
func (d *demo) getElsewhere(ctx context.Context, id datamesh.ObjectID) (string, error) {
	key, out := d.path("identity.backup"), d.path("copy")
	if err := d.command(ctx, "owner", nil, "keys", "export", key); err != nil {
		return "", err
	}
	if err := d.command(ctx, "other", nil, "keys", "import", key); err != nil {
		return "", err
	}
	d.done(demoStep{Name: "identity", Detail: "carried the identity, and nothing else, to another home"})
	fetched := new(node.Fetched)
	if err := d.command(ctx, "other", fetched, "get", id.String(), out); err != nil {
		return "", err
	}
	d.done(demoStep{Name: "get", Size: fetched.Size, Detail: fmt.Sprintf("got %s back from the nodes that are left", size(fetched.Size))})
	return out, nil
}

// sameFile compares two files. Kind: Integrity.
func sameFile(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return errs.New(errs.IO, "%w", err)
	}
	defer fb.Close()
	ra, rb := bufio.NewReaderSize(fa, 1<<20), bufio.NewReaderSize(fb, 1<<20)
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return errs.New(errs.Integrity, "%s and %s differ", a, b)
		}
		if ended(errA) && ended(errB) {
			return nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return errs.New(errs.IO, "compare %s and %s: %w", a, b, err)
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
