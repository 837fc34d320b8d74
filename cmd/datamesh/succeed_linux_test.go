package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/node"
)

func TestSuccessionIsPrinted(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	old, next := datamesh.OwnerKey{1}, datamesh.OwnerKey{2}
	since := time.Unix(1_800_000_000, 0).UTC()
	moved := node.Contact{Name: "ann", Address: next.Address(), Former: []string{old.Address()}, Created: since}
	claimed := node.Contact{Name: "dora", Address: old.Address(), Disputed: true, Created: since}
	var text, doc bytes.Buffer
	for _, x := range []any{
		&node.Succeeded{Owner: old, Successor: next, Address: next.Address()},
		&node.Succeeded{Owner: old, Successor: next, Address: next.Address(), Warnings: []string{"another is named"}},
		&moved,
		&node.Contacts{Contacts: []node.Contact{moved, claimed}},
		&node.Inbox{Objects: []node.Received{}, Unreached: []string{}, Warnings: []string{"he is another"}},
	} {
		table := newTable(&text)
		switch x := x.(type) {
		case *node.Succeeded:
			succeededText(table, x)
		case *node.Contact:
			contactText(table, x)
		case *node.Contacts:
			contactsText(table, x)
		}
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(x); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/succeed.text", text.String())
	golden(t, "testdata/succeed.json", doc.String())
}
