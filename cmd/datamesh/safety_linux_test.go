package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/node"
)

// safeties are objects of all kinds, at that time.
var (
	safetyTime = time.Unix(1_800_000_000, 0).UTC()
	safeties   = []node.Info{
		{ID: datamesh.ObjectID{1}, Name: "well", Size: 5 << 20, Packed: 2 << 20, StoredBytes: 3 << 20, Survives: 2,
			Safety: node.Safety{
				Hosts:    node.DomainSafety{Known: true, Survives: 2, Domains: 6},
				Sites:    node.DomainSafety{Known: true, Survives: 1, Domains: 3, Unlabelled: 1},
				Shards:   node.ShardSafety{Live: 9, Total: 9, Proven: 9, LastProof: safetyTime.Add(-90 * time.Second), OldestProof: safetyTime.Add(-5 * time.Hour)},
				Modelled: 8.79, Demonstrated: 1.23},
			Basis: node.Basis{MemberLoss: 0.031, MemberLossFrom: node.FromObserved, RepairHours: 0.3, RepairFrom: node.FromObserved,
				HostLoss: 0.01, SiteLoss: 0.001, DemonstratedFrom: node.FromSegments, Years: 123.4,
				Seen: &node.Seen{Since: safetyTime.AddDate(-2, 0, 0), MemberYears: 100, Repairs: 12, RepairHours: 3.6, SegmentYears: 123.4}},
			Segments: []node.SegmentInfo{{ID: datamesh.SegmentID{1}, Shards: []node.ShardInfo{
				{Index: 0, Peer: datamesh.PeerID{7}, Live: true, LastProof: safetyTime.Add(-90 * time.Second)},
				{Index: 0, Peer: datamesh.PeerID{8}}}}}},
		{ID: datamesh.ObjectID{2}, Name: "new", Size: 10, StoredBytes: 7_000,
			Safety: node.Safety{Hosts: node.DomainSafety{Known: true, Domains: 1}, Shards: node.ShardSafety{Live: 3, Total: 3}, Modelled: 1},
			Basis: node.Basis{MemberLoss: 0.10536051565782628, MemberLossFrom: node.FromAssumed, RepairHours: 24, RepairFrom: node.FromAssumed,
				HostLoss: 0.01, SiteLoss: 0.001, DemonstratedFrom: node.FromObjects, Years: 0.0042},
			Segments: []node.SegmentInfo{}},
		{ID: datamesh.ObjectID{3}, Name: "lossy", Size: 20 << 20, Survives: -1,
			Safety: node.Safety{Hosts: node.DomainSafety{Survives: -1}, Sites: node.DomainSafety{Survives: -1},
				Shards: node.ShardSafety{Live: 4, Total: 9, Proven: 1, LastProof: safetyTime.Add(-71 * time.Hour)}},
			Basis: node.Basis{MemberLoss: 900, MemberLossFrom: node.FromObserved, RepairHours: 100, RepairFrom: node.FromObserved,
				HostLoss: 0.01, SiteLoss: 0.001, DemonstratedFrom: node.FromSegments, DemonstratedLost: 1, Years: 3,
				Seen: &node.Seen{Since: safetyTime, Losses: 9}},
			Segments: []node.SegmentInfo{}},
	}
)

func TestInfoPrintsHowSafeAnObjectIs(t *testing.T) {
	many := safeties[1]
	for i := range 3 {
		segment := node.SegmentInfo{ID: datamesh.SegmentID{byte(i)}}
		for index := range 8 {
			segment.Shards = append(segment.Shards, node.ShardInfo{Index: index, Peer: datamesh.PeerID{byte(index)}, Live: true})
		}
		many.Segments = append(many.Segments, segment)
	}
	var text, doc bytes.Buffer
	for _, info := range append(safeties, many) {
		table := newTable(&text)
		infoText(table, &info, safetyTime)
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(info); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/info.text", text.String())
	golden(t, "testdata/info.json", doc.String())
}

func TestHealthPrintsTheLeastOfAll(t *testing.T) {
	least := safeties[0].Safety
	h := &node.Health{Verdict: "all 2 objects can lose any 2 more peers", Members: node.MemberStats{Alive: 6, Connected: 5},
		Catalog: node.CatalogStats{Objects: 2, Bytes: 5 << 20}, Least: &least, Basis: &safeties[0].Basis}
	for i := range 2 {
		h.Objects = append(h.Objects, node.ObjectHealth{ID: datamesh.ObjectID{byte(i)}, Name: "x", Survives: 2, Possible: 2, Safety: least})
	}
	weak := *h
	weak.Verdict, weak.Degraded, weak.Objects = "20 of 20 objects have lost shards", true, nil
	for i := range 20 {
		weak.Objects = append(weak.Objects, node.ObjectHealth{ID: datamesh.ObjectID{byte(i)}, Name: "y", Survives: 1, Possible: 1, Lost: i + 1, Safety: least})
	}
	var text, doc bytes.Buffer
	for _, h := range []*node.Health{h, &weak, {Verdict: "6 of 6 members answer; 2 objects not asked about", Objects: []node.ObjectHealth{}}} {
		table := newTable(&text)
		healthText(table, h, safetyTime)
		table.Flush()
		text.WriteString("\n")
		if err := json.NewEncoder(&doc).Encode(h); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/health.text", text.String())
	golden(t, "testdata/health.json", doc.String())
}

// golden compares a text with what a file has.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
