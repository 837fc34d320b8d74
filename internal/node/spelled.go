package node

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"datamesh/internal/errs"
)

// spelled returns a reference as the catalog has it: of a name that it has not, the
// one that differs only in how Unicode composes its letters. Kind: Invalid (there
// are several).
func (n *Node) spelled(ctx context.Context, ref string) (string, error) {
	if _, isID, err := parseRef(ref); err != nil || isID || strings.IndexFunc(ref, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return ref, nil
	}
	if _, err := n.resolve(ctx, ref); !errors.Is(err, errs.FileNotFound) {
		return ref, nil
	}
	names, err := n.catalog.Alike(ctx, ref)
	switch {
	case err != nil || len(names) == 0:
		return ref, err
	case len(names) > 1:
		return ref, errs.WithHint(errs.New(errs.Invalid, "%d names look like %s and are written in other Unicode forms", len(names), ref), `take the id of the one that is meant from "datamesh list"`)
	}
	return names[0], nil
}
