package catalog

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"

	"datamesh/internal/errs"
)

// Check looks for damage in the catalog in the file path, and changes nothing.
// Kinds: FileNotFound (there is none), else as [Open].
func Check(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errs.New(errs.FileNotFound, "there is no %s", path)
		}
		return errs.New(errs.IO, "%w", err)
	}
	c, err := connect(path, url.Values{"_pragma": {"busy_timeout(10000)"}})
	if err != nil {
		return err
	}
	defer c.db.Close()
	if err := c.check(ctx); err != nil {
		return err
	}
	var result string
	if err := c.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return c.classify(ctx, err)
	}
	if result != "ok" {
		return c.damaged(result)
	}
	return nil
}
