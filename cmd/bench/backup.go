//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
)

// The work of backing up a directory.
const (
	restic = "restic"

	backupNew  = "back up a directory, all of it new"
	backupSame = "back up a directory that has not changed"
	restored   = "restore a directory"

	backupLarge = 16 << 20 // bytes of a large file of it; half of all are in such
	backupSmall = 64 << 10 // of a small one
)

// measureBackup backs up a directory, does so again, and restores it; and has restic
// do so, if it is there. That has one repository on the same disk, which is a
// directory: it codes nothing, sends nothing, and signs for nothing.
func measureBackup(ctx context.Context, l *lab) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	others := l.found(restic, restic)
	for i := range l.o.runs {
		tree := filepath.Join(l.dir, "tree")
		n, err := makeTree(tree, l.o.size/2, byte(i))
		if err == nil {
			err = l.backup(ctx, tree, n)
		}
		if err == nil && others {
			err = l.restic(ctx, tree, n)
		}
		if err := errors.Join(err, os.RemoveAll(tree)); err != nil {
			return err
		}
	}
	return nil
}

// makeTree makes a directory of about n bytes, no two of whose pieces are the same,
// and returns how many there are.
func makeTree(dir string, n int64, seed byte) (made int64, err error) {
	noise := mathrand.NewChaCha8([32]byte{3, seed})
	for i := 0; made < n; i++ {
		size := int64(backupSmall)
		if made < n/2 {
			size = min(backupLarge, n/2)
		}
		file := filepath.Join(dir, fmt.Sprint(i/100), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return 0, err
		}
		f, err := os.Create(file)
		if err != nil {
			return 0, err
		}
		_, err = io.CopyN(f, noise, size)
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		made += size
	}
	return made, nil
}

// backup has DataMesh do it.
func (l *lab) backup(ctx context.Context, tree string, n int64) error {
	back := filepath.Join(l.dir, "back")
	defer os.RemoveAll(back)
	for _, step := range []struct {
		work string
		args []string
	}{
		{backupNew, []string{"backup", tree, "--name", "bench"}},
		{backupSame, []string{"backup", tree, "--name", "bench"}},
		{restored, []string{"restore", "bench", back}},
	} {
		c, err := l.measure(ctx, nil, step.args...)
		if err != nil {
			return err
		}
		l.report.moved(step.work, datameshIt, n, c.wall, c.cpu+c.nodes)
		l.peaked(step.work, c)
	}
	return sameTree(tree, back)
}

// restic has restic do it, in a repository of its own.
func (l *lab) restic(ctx context.Context, tree string, n int64) error {
	repository, back := filepath.Join(l.dir, "restic"), filepath.Join(l.dir, "back")
	defer os.RemoveAll(repository)
	defer os.RemoveAll(back)
	v := &rival{l: l, name: restic, env: []string{"RESTIC_REPOSITORY=" + repository, "RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR=" + filepath.Join(repository, "cache")}}
	if _, err := v.run(ctx, restic, "init"); err != nil {
		return err
	}
	for _, step := range []struct {
		work string
		args []string
	}{
		{backupNew, []string{"backup", "--quiet", tree}},
		{backupSame, []string{"backup", "--quiet", tree}},
		{restored, []string{"restore", "--quiet", "latest", "--target", back}},
	} {
		if _, err := v.measure(ctx, step.work, n, restic, step.args...); err != nil {
			return err
		}
	}
	return sameTree(tree, filepath.Join(back, tree))
}

// sameTree is an error unless both directories have the same files.
func sameTree(a, b string) error {
	files, err := filepath.Glob(filepath.Join(a, "*", "*")) // as makeTree makes them
	if err != nil {
		return err
	}
	others, err := filepath.Glob(filepath.Join(b, "*", "*"))
	if err != nil {
		return err
	}
	if len(others) != len(files) {
		return fmt.Errorf("%d files came back of %d", len(others), len(files))
	}
	for i := range files {
		if err := sameFile(files[i], others[i]); err != nil {
			return err
		}
	}
	return nil
}
