package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"datamesh"
	"datamesh/internal/catalog"
	"datamesh/internal/errs"
)

// hearTime is how long what other homes have said is waited for, before something
// is changed on top of it.
const hearTime = 10 * time.Second

// amend has change, which moves no content, be done on top of what the owner's
// other homes have said, and the mesh keep what came of it. Without the mesh it is
// done all the same, which a warning says.
func (n *Node) amend(ctx context.Context, change func() error) (warnings []string, err error) {
	l, alone := n.connect(ctx)
	var unheard error
	if alone == nil {
		unheard = n.hear(ctx, l)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := change(); err != nil {
		return nil, err
	}
	if alone != nil {
		return []string{unsaid(alone)}, nil
	}
	if err := n.publish(context.WithoutCancel(ctx), l); err != nil {
		return []string{unsaid(err)}, nil
	}
	if unheard != nil {
		warnings = append(warnings, "what other homes have said since this one heard of them last may have been overridden: "+unheard.Error())
	}
	return warnings, nil
}

// hear learns what other homes have said, if there may be others.
func (n *Node) hear(ctx context.Context, l *link) error {
	if l.net == nil {
		return nil
	}
	keys, err := n.heldKeys()
	if errors.Is(err, errs.FileNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hearTime)
	defer cancel()
	_, err = n.learnNames(ctx, l, keys)
	return err
}

// unsaid warns that the mesh does not know of a change yet.
func unsaid(err error) string {
	return "this is in the catalog of this home and not in the mesh yet, which the next command that changes something, or the service of this home, will mend: " + whyUnsaid(err)
}

// parseRef tells ids from names. Kind: Invalid.
func parseRef(ref string) (id datamesh.ObjectID, isID bool, err error) {
	id, err = datamesh.ParseObjectID(ref)
	switch {
	case err == nil:
		return id, true, nil
	case errors.Is(err, datamesh.ErrNoID):
		return id, false, nil
	}
	return id, false, errs.WithHint(errs.New(errs.Invalid, "%w", err), `copy the id from "datamesh list"`)
}

// checkNewName refuses what CheckName does.
func checkNewName(name string) error {
	if err := CheckName(name); err != nil {
		return errs.WithHint(err, "give another name")
	}
	return nil
}

// Rename gives objects another name: see [catalog.Catalog.Rename]. Kinds:
// FileNotFound, Exists, Invalid.
func (n *Node) Rename(ctx context.Context, o RenameOptions) (*Renamed, error) {
	id, isID, err := parseRef(o.From)
	if err == nil {
		err = checkNewName(o.To)
	}
	if err != nil {
		return nil, err
	}
	r := &Renamed{From: o.From, To: o.To}
	r.Warnings, err = n.amend(ctx, func() (err error) {
		if o.From, err = n.spelled(ctx, o.From); err != nil {
			return err
		}
		if isID {
			if id, err = n.catalog.Current(ctx, id); err != nil {
				return err
			}
			r.Objects = 1
			r.From, err = n.catalog.RenameObject(ctx, id, o.To, o.Force)
		} else {
			r.Objects, err = n.catalog.Rename(ctx, o.From, o.To, o.Force)
		}
		return err
	})
	if errors.Is(err, errs.Exists) {
		err = errs.WithHint(err, "--force makes what is there an older version of what gets its name")
	}
	return r, err
}

// Copy gives an object a further name, or all that are below one. Kinds: FileNotFound, Exists, Invalid.
func (n *Node) Copy(ctx context.Context, o CopyOptions) (*Copied, error) {
	id, isID, err := parseRef(o.From)
	if err == nil {
		err = checkNewName(o.To)
	}
	if err != nil {
		return nil, err
	}
	r := new(Copied)
	r.Warnings, err = n.amend(ctx, func() error {
		n.deleting.Lock() // what is being deleted gets no further name
		defer n.deleting.Unlock()
		if catalog.IsBelow(o.From) {
			r.Name = o.To
			r.Objects, err = n.catalog.CopyBelow(ctx, o.From, o.To)
			return err
		}
		from, err := n.spelled(ctx, o.From)
		if err != nil {
			return err
		}
		if isID {
			from = ""
			id, err = n.catalog.Current(ctx, id)
		} else {
			id, err = n.resolve(ctx, from)
		}
		if err != nil {
			return err
		}
		e, name, err := n.catalog.Copy(ctx, id, from, o.To)
		r.ID, r.Name, r.Names = id, name, e.Names()
		return err
	})
	if errors.Is(err, errs.Exists) {
		if e, _ := n.catalog.ByName(ctx, o.To); e.ID == id { // without that name it might have none
			return r, errs.WithHint(err, "it is the same object: give another name")
		}
		err = errs.WithHint(err, "give another name, or take that one away first: datamesh rm %s", errs.Word(o.To))
	}
	return r, err
}

// Tag adds tags to objects, and takes some away. Kinds: FileNotFound, Invalid.
func (n *Node) Tag(ctx context.Context, o TagOptions) (*Tagged, error) {
	r := new(Tagged)
	one, err := n.edit(ctx, o.Ref, &r.Objects, &r.Changed, &r.Warnings, func(e *catalog.Entry) {
		e.Tags = slices.DeleteFunc(e.Tags, func(tag string) bool { return slices.Contains(o.Remove, tag) })
		for _, tag := range o.Add {
			if !slices.Contains(e.Tags, tag) {
				e.Tags = append(e.Tags, tag)
			}
		}
	})
	if r.Objects == 1 {
		r.Tags = append([]string{}, one.Tags...)
	}
	return r, err
}

// Pin keeps objects from being deleted, or lets them. Kinds: FileNotFound,
// Invalid.
func (n *Node) Pin(ctx context.Context, o PinOptions) (*Pinned, error) {
	r := &Pinned{Pinned: !o.Unpin}
	_, err := n.edit(ctx, o.Ref, &r.Objects, &r.Changed, &r.Warnings, func(e *catalog.Entry) { e.Pinned = !o.Unpin })
	return r, err
}

// edit changes the objects that ref means: an id, or a pattern of names.
func (n *Node) edit(ctx context.Context, ref string, objects, changed *int, warnings *[]string, edit func(*catalog.Entry)) (one catalog.Entry, err error) {
	id, isID, err := parseRef(ref)
	if err == nil && ref == "" {
		err = errs.New(errs.Invalid, "the name is empty")
	}
	if err != nil {
		return one, err
	}
	*warnings, err = n.amend(ctx, func() (err error) {
		n.deleting.Lock() // what is being deleted is not pinned halfway
		defer n.deleting.Unlock()
		if !isID {
			one, *objects, *changed, err = n.catalog.Edit(ctx, ref, edit)
			return err
		}
		if id, err = n.catalog.Current(ctx, id); err != nil {
			return err
		}
		var did bool
		*objects = 1
		if one, did, err = n.catalog.EditObject(ctx, id, edit); did {
			*changed = 1
		}
		return err
	})
	return one, err
}

// nameOf returns the name of an object: the one by which it is asked for, or else
// the first that the catalog has, or the one that it was stored with.
func (n *Node) nameOf(ctx context.Context, ref string, id datamesh.ObjectID, stored string) string {
	if _, isID, err := parseRef(ref); err == nil && !isID {
		return ref
	}
	if e, err := n.catalog.ByID(ctx, id); err == nil && e.Name != "" {
		return e.Name
	}
	return stored
}
