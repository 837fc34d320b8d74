package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/node"
)

func TestUnsharePrintsWhatIsTakenBack(t *testing.T) {
	taken := []datamesh.ObjectID{{2}}
	until := time.Unix(1_800_000_000, 0).UTC()
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	var text, doc bytes.Buffer
	for _, u := range []node.Unshared{
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, Warnings: []string{"a home does not know"}},
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, DryRun: true},
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, Revoked: &node.Revoked{Object: datamesh.ObjectID{3}, Size: 40 << 20, StoredBytes: 60 << 20, Kept: []string{}, Until: until}},
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, Revoked: &node.Revoked{Object: datamesh.ObjectID{3}, Size: 40 << 20, StoredBytes: 60 << 20, Kept: []string{"bob", "dora"}}},
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, DryRun: true, Revoked: &node.Revoked{Size: 40 << 20, StoredBytes: 60 << 20, Kept: []string{"dora"}, Until: until}},
		{Object: datamesh.ObjectID{1}, Name: "film", Taken: taken, DryRun: true, Revoked: &node.Revoked{Size: 100, StoredBytes: 300, Kept: []string{}}},
	} {
		table := newTable(&text)
		unsharedText(table, &u)
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(u); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/unshare.text", text.String())
	golden(t, "testdata/unshare.json", doc.String())
}
