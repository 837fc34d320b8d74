package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/store"
)

// CheckHome looks at the files of a home and the disk that they are on. It
// works whether a node runs in the home or not, and however damaged it is; it
// makes nothing but a file that it takes away again.
func CheckHome(ctx context.Context, home config.Home, user config.User, cfg config.Store) []Check {
	if _, err := os.Lstat(string(home)); errors.Is(err, fs.ErrNotExist) {
		return []Check{skipped("home", "there is no %s yet: the first command that needs it makes it", home)}
	}
	checks := []Check{checkDir(home)}
	if checks[0].Status == CheckFailed {
		return checks
	}
	return append(checks, checkKeys(home, user), checkSaved(user),
		checkDatabase("catalog", "nothing was stored from this home yet", checkCatalog(ctx, user)),
		checkDatabase("store", "this home has stored nothing for others yet", checkStore(ctx, home)),
		checkMemory(home), checkSpace(ctx, home, cfg), checkSync(home))
}

// checkDir finds out whether the home can be read and written, and by whom.
func checkDir(home config.Home) Check {
	const name = "home"
	info, err := os.Stat(string(home))
	if err != nil {
		return failedBy(name, errs.New(errs.IO, "%w", err))
	}
	if !info.IsDir() {
		return failed(name, "give another with --home DIR", "%s is no directory", home)
	}
	if _, err := os.ReadDir(string(home)); err != nil {
		return failed(name, fmt.Sprintf("chmod 700 %s", home), "it cannot be read: %v", err)
	}
	if err := trySync(home, 1); err != nil {
		return unwritable(name, home, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return warning(name, fmt.Sprintf("chmod 700 %s", home), "%s has mode %04o: other users may look into it", home, info.Mode().Perm())
	}
	return ok(name, "%s can be read and written, by you alone", home)
}

func checkKeys(home config.Home, user config.User) Check {
	const name = "keys"
	names, err := home.Users()
	if err != nil {
		return failedBy(name, err)
	}
	for _, other := range append(names, user.Name) {
		u, err := home.User(other)
		if err == nil {
			err = keyring.Private(u.Identity(), home.NodeKey())
		}
		if err != nil {
			return failedBy(name, err)
		}
	}
	if _, err := keyring.LoadNodeKey(home.NodeKey()); err != nil && !errors.Is(err, errs.FileNotFound) {
		return failedBy(name, err)
	}
	if sealed, err := keyring.At(user.Identity()).Protected(); err == nil && sealed {
		return ok(name, "others cannot read them, and the identity has a passphrase")
	}
	return ok(name, "others cannot read them")
}

func unwritable(name string, home config.Home, err error) Check {
	advice := fmt.Sprintf("chmod 700 %s", home)
	if durable.KindOf(err) == errs.Full {
		advice = fmt.Sprintf("free some of the disk that has %s", home)
	}
	return failed(name, advice+", or give another with --home DIR", "it cannot be written to: %v", err)
}

// checkSaved finds out whether the identity is anywhere else: in a file, or in
// the words of somebody who has shown to have them.
func checkSaved(user config.User) Check {
	const name = "identity"
	keys := keyring.At(user.Identity())
	exported, err := keys.Exported()
	if errors.Is(err, errs.FileNotFound) {
		return skipped(name, "this home has none yet")
	}
	if errors.Is(err, errs.Authentication) {
		return skipped(name, "it has a passphrase, and its owner is not noted beside it: datamesh keys passphrase notes it")
	}
	if err != nil {
		return failedBy(name, err)
	}
	verified, err := keys.Verified()
	if err != nil {
		return failedBy(name, err)
	}
	shown, err := keys.Shown()
	if err != nil {
		return failedBy(name, err)
	}
	const day = "2006-01-02"
	switch {
	case !verified.IsZero():
		return ok(name, "its words were verified on %s", verified.Local().Format(day))
	case !exported.IsZero():
		return ok(name, "it was exported on %s", exported.Local().Format(day))
	case !shown.IsZero():
		return warning(name, "datamesh keys verify",
			"its words were shown on %s and never verified: one that was written down wrongly may make them useless", shown.Local().Format(day))
	}
	return warning(name, "datamesh keys init, and write the words down; or datamesh keys export FILE, and keep that elsewhere",
		"it is nowhere but in this home, as far as is known: if the home is lost, so is all that was stored with it")
}

// checkStore looks for damage in the index of the store, which the store itself
// can mend when it is opened.
func checkStore(ctx context.Context, home config.Home) error {
	err := store.Check(ctx, home.Store())
	if err != nil && errs.HintFor(err) == "" {
		return errs.WithHint(err, "start the node anew, which makes the index again from the shards' files: datamesh service")
	}
	return err
}

// checkCatalog looks for damage in the catalog of a user, and whether it is that
// user's.
func checkCatalog(ctx context.Context, user config.User) error {
	if err := catalog.Check(ctx, user.Catalog()); err != nil {
		return err
	}
	owner, err := keyring.At(user.Identity()).OwnerKey()
	if err != nil {
		return nil // which the checks of keys and identity tell of
	}
	c, err := catalog.OpenToRead(ctx, user.Catalog())
	if err != nil {
		return err
	}
	return errors.Join(c.OfOther(ctx, owner), c.Close())
}

func checkDatabase(name, none string, err error) Check {
	switch {
	case errors.Is(err, errs.FileNotFound):
		return skipped(name, "%s", none)
	case err != nil:
		return failedBy(name, err)
	}
	return ok(name, "its database is sound")
}

func checkMemory(home config.Home) Check {
	const name = "mesh"
	m, err := loadMemory(home)
	switch {
	case err != nil:
		return failedBy(name, err)
	case m.genesis == nil:
		return skipped(name, "this home has joined none yet")
	}
	return ok(name, "it remembers %s and %d members", m.genesis.MeshID(), len(m.members))
}

// checkSpace compares the free space with what is to stay free.
func checkSpace(ctx context.Context, home config.Home, cfg config.Store) Check {
	free, err := store.FreeSpace(string(home))
	if err != nil {
		return failedBy("space", err)
	}
	used, err := store.Used(ctx, home.Store())
	if err != nil {
		used = 0 // what is wrong with the index, the check of the store tells
	}
	capacity := cmp.Or(int64(cfg.Capacity), free+used)
	return judgeSpace(max(0, min(free, capacity-used)), store.Reserve(int64(cfg.Reserve), capacity))
}

func judgeSpace(free, reserve int64) Check {
	const name, advice = "space", "free some space on the disk, or set a smaller DATAMESH_STORE_RESERVE"
	detail := fmt.Sprintf("%v are free, and %v are kept as the reserve", config.Size(free), config.Size(reserve))
	switch {
	case free <= reserve:
		return failed(name, advice, "%s: nothing can be stored here", detail)
	case free < 2*reserve:
		return warning(name, advice, "%s", detail)
	}
	return ok(name, "%s", detail)
}

// syncLimit is what a disk should take to make a few bytes durable. A put
// waits for it several times.
const syncLimit = 100 * time.Millisecond

const syncs = 7

// checkSync measures how long the disk takes to make a few bytes durable.
func checkSync(home config.Home) Check {
	var took []time.Duration
	for range syncs {
		began := time.Now()
		if err := trySync(home, 4096); err != nil {
			return failedBy("sync", errs.New(errs.IO, "%w", err))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return judgeSync(took[syncs/2])
}

func judgeSync(median time.Duration) Check {
	const name = "sync"
	detail := fmt.Sprintf("the disk takes %v to make a write durable", median.Round(10*time.Microsecond))
	if median > syncLimit {
		return warning(name, "give a home on a faster disk: --home DIR", "%s: puts wait for that", detail)
	}
	return ok(name, "%s", detail)
}

// trySync makes n bytes durable in the home, and takes them away again.
func trySync(home config.Home, n int) error {
	f, err := os.CreateTemp(string(home), ".datamesh-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(filepath.Clean(f.Name()))
	defer f.Close()
	if _, err := f.Write(make([]byte, n)); err != nil {
		return err
	}
	return f.Sync()
}

// leastFiles is how many files and connections a busy node may have open.
const leastFiles = 4096

// checkFiles judges how many files and connections this process may have
// open; 0 is not known.
func checkFiles(limit uint64) Check {
	const name = "files"
	switch {
	case limit == 0:
		return skipped(name, "this system has no limit that could be asked for")
	case limit < leastFiles:
		return warning(name, "ulimit -n 65536, before the node is started", "the node may have %d files and connections open; a busy one needs %d", limit, leastFiles)
	}
	return ok(name, "the node may have %d files and connections open", limit)
}
