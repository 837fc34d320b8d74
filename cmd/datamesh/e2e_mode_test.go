//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/backup"
	"datamesh/internal/node"
)

// closedTar returns an archive of a directory with a file on which nobody has any
// permission.
func closedTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	at := time.Unix(1e9, 0)
	err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, ModTime: at}),
		w.WriteHeader(&tar.Header{Name: "d/closed", Size: 4, ModTime: at}))
	if err == nil {
		_, err = io.WriteString(w, "text")
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wantPerm(t *testing.T, file string, want fs.FileMode) {
	t.Helper()
	if fi, err := os.Lstat(file); err != nil {
		t.Error(err)
	} else if fi.Mode().Perm() != want {
		t.Errorf("%s is %v, want %v", file, fi.Mode(), want)
	}
}

// A file on which nobody has any permission is that again, whichever way it went.
func TestAFileThatNobodyMayReadComesBackAsSuch(t *testing.T) {
	t.Parallel()
	u := alone(t)
	result[batch](t, u.imports(t, closedTar(t), true))
	for _, o := range result[node.List](t, u.run(t, "list", "d/closed")).Objects {
		if o.Mode != datamesh.NoPermissions {
			t.Errorf("%s has mode %#o", o.Name, o.Mode)
		}
	}
	dir := t.TempDir()
	at := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	result[batch](t, u.run(t, "get", "d", at("got")))
	wantPerm(t, at("got", "closed"), 0)
	wantPerm(t, at("got"), 0o755)
	result[node.Fetched](t, u.run(t, "get", "d/closed", at("alone")))
	wantPerm(t, at("alone"), 0)
	if again := result[batch](t, u.run(t, "get", "d", at("got"))); again.Written != 0 || again.Unchanged != 2 {
		t.Errorf("got again: %+v", again)
	}
	for _, format := range []string{"tar", "zip"} {
		result[archived](t, u.run(t, "export", "d/", "-o", at("all."+format)))
		other := alone(t)
		result[batch](t, other.run(t, "import", at("all."+format)))
		result[batch](t, other.run(t, "get", "d", at(format)))
		wantPerm(t, at(format, "closed"), 0)
	}
	result[synced](t, u.run(t, "sync", at("synced"), "d/", "--two-way"))
	wantPerm(t, at("synced", "closed"), 0)
	if os.Geteuid() != 0 {
		t.Log("NOT TESTED: only root reads such a file, to put it or back it up")
		return
	}
	if again := result[synced](t, u.run(t, "sync", at("synced"), "d/", "--two-way")); again.Unchanged != 2 {
		t.Errorf("synced again: %+v", again)
	}
	result[batch](t, u.run(t, "put", "-r", at("got"), "--name", "put"))
	if again := result[batch](t, u.run(t, "put", "-r", at("got"), "--name", "put")); again.Unchanged != 2 {
		t.Errorf("put again: %+v", again)
	}
	result[batch](t, u.run(t, "get", "put", at("put")))
	wantPerm(t, at("put", "closed"), 0)
	result[node.Stored](t, u.run(t, "put", at("alone")))
	result[node.Fetched](t, u.run(t, "get", "alone", at("alone again")))
	wantPerm(t, at("alone again"), 0)
	u.backs(t, at("got"), "b")
	eventually(t, "it is taken over", func() bool { return u.backs(t, at("got"), "b").Read == 0 }) // two seconds after it was written
	result[backup.Restored](t, u.run(t, "restore", "b", at("restored")))
	wantPerm(t, at("restored", "closed"), 0)
}
