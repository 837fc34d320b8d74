package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/node"
	"datamesh/internal/tree"
)

// A manyDone is what came of a command for all that is below a directory.
type manyDone struct {
	Name     string      `json:"name"`
	Files    []batchFile `json:"files"`
	Done     int         `json:"done"`
	Planned  int         `json:"planned"`
	Failed   int         `json:"failed"`
	Bytes    int64       `json:"bytes"`
	Warnings []string    `json:"warnings,omitempty"`
	DryRun   bool        `json:"dry_run,omitempty"`
}

// within returns what is below a directory of the mesh, all versions, and the
// directory itself, the innermost first, and reports whether the newest of that name
// is something else. What backups consist of is no part of it.
func within(ctx context.Context, ops api.Operations, dir string) (all []node.Object, other bool, err error) {
	met := false
	pattern := dir + "/"
	if isPattern(dir) || strings.Contains(dir, `\`) {
		pattern = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(dir) + "/**"
	}
	for _, p := range []string{pattern, strings.TrimSuffix(strings.TrimSuffix(pattern, "**"), "/")} {
		err := ops.List(ctx, node.ListOptions{Pattern: p}, func(o node.Object) error { // the newest first
			if o.Name == dir && !met {
				met, other = true, o.Type != tree.Directory
			}
			if !isBackup(o.Type) && (strings.HasPrefix(o.Name, dir+"/") || o.Name == dir && o.Type == tree.Directory) {
				all = append(all, o)
			}
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	slices.SortStableFunc(all, func(a, b node.Object) int { return strings.Compare(b.Name, a.Name) })
	return all, other, nil
}

// asDirectory returns what is within the directory that ref is the name of, or
// nothing if it is that of a file, or an id. If all of it is wanted, or ref ends with
// a slash, it learns first what the user's other homes have stored there. Kinds:
// FileNotFound (it ends with a slash, and there is nothing), Invalid.
func (c *cli) asDirectory(ctx context.Context, ops api.Operations, ref string, whole bool) (dir string, all []node.Object, err error) {
	if _, err := datamesh.ParseObjectID(ref); err == nil {
		return "", nil, nil
	}
	if whole || catalog.IsBelow(ref) {
		switch heard, err := ops.Hear(ctx); {
		case ctx.Err() != nil:
			return "", nil, ctx.Err()
		case err != nil:
			c.warn("what your other homes have stored below it is not known: %v", err)
		default:
			c.warnAll(heard.Warnings)
		}
	}
	if dir, err = spelledTop(ctx, ops, strings.TrimSuffix(ref, "/")); err != nil || dir == "" {
		return dir, nil, err
	}
	all, other, err := within(ctx, ops, dir)
	switch {
	case err != nil:
	case catalog.IsBelow(ref) && len(all) == 0:
		err = errs.WithHint(errs.New(errs.FileNotFound, "you have stored nothing below %s", ref), `see what there is with "datamesh list"`)
	case !catalog.IsBelow(ref) && (other || !slices.ContainsFunc(all, func(o node.Object) bool { return o.Name != dir })):
		all = nil // a file, or a directory with nothing in it
	}
	return dir, all, err
}

// doEach does something with each object, one after the other, until that has an
// error that is not of one object alone, and prints what came of it.
func (c *cli) doEach(ctx context.Context, verb, done, dir string, all []node.Object, dryRun bool, do func(node.Object) (warnings []string, err error)) error {
	t := c.newTally(verb)
	t.batch.DryRun = dryRun
	t.allFiles.Store(int64(len(all)))
	for _, o := range all {
		t.allBytes.Add(o.Size)
	}
	stop := c.tell(ctx, t)
	r := manyDone{Name: dir + "/", DryRun: dryRun}
	for _, o := range all {
		f := batchFile{Name: o.Name, ID: o.ID, Type: o.Type, Size: o.Size, State: done}
		if dryRun {
			f.State = filePlanned
			r.Bytes += o.Size
			t.add(f)
			continue
		}
		warnings, err := do(o)
		t.warn(warnings...)
		t.bytes.Add(o.Size)
		if err == nil {
			r.Bytes += o.Size
			t.add(f)
			continue
		}
		if err = fmt.Errorf("%s %s: %w", verb, o.Name, err); general(ctx, err) {
			t.stop(err)
			break
		}
		t.fail(f, err)
	}
	stop()
	b := &t.batch
	slices.SortFunc(b.Files, func(x, y batchFile) int { return strings.Compare(x.Name, y.Name) })
	r.Files, r.Done, r.Planned, r.Failed, r.Warnings = b.Files, b.deleted+b.shared, b.Planned, b.Failed, b.Warnings
	err := c.print(r, func(w io.Writer) {
		if dryRun {
			fmt.Fprintf(w, "would %s %s, %s\n", verb, count(r.Planned, "file"), size(r.Bytes))
			return
		}
		row(w, done, fmt.Sprintf("%s, %s", count(r.Done, "file"), size(r.Bytes)))
		if r.Failed > 0 {
			row(w, "failed", count(r.Failed, "file"))
		}
	})
	return errors.Join(err, t.end(dir+"/"))
}
