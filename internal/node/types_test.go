package node

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

var field = regexp.MustCompile(`"([a-z_]+)":`)

// Programs read these documents: their fields are those of the command line,
// and there when they are empty.
func TestDocumentsHaveTheFieldsThatProgramsRead(t *testing.T) {
	for want, doc := range map[string]any{
		"name peer_id addrs owner address recipient":               Identity{},
		"id name size stored_bytes segments shards peers survives": Stored{},
		"id name size out bad segment index peer_id reason":        Fetched{Bad: []BadShard{{}}},
		"objects id name size tags created":                        List{Objects: []Object{{}}},
		"id name size stored_bytes survives safety hosts known survives domains unlabelled sites known survives domains unlabelled " +
			"shards live total proven modelled_nines demonstrated_nines basis member_loss_per_year member_loss_from repair_hours repair_from " +
			"host_loss_per_year site_loss_per_year demonstrated_from demonstrated_lost demonstrated_years seen segments id shards index peer_id live": Info{Segments: []SegmentInfo{{Shards: []ShardInfo{{}}}}},
		"peers peer_id addrs latency_ms state role used capacity labels":                                  Peers{Peers: []Peer{{}}},
		"peer_id uptime_seconds members alive suspect dead connected catalog objects bytes goroutines":    Stats{}, // alone, and without a store
		"members peer_id addrs answers new latency_ms new":                                                Discovered{Members: []Found{{}}},
		"peers peer_id latency_ms sent sent_per_second received received_per_second failed peer_id error": Bandwidth{Peers: []Throughput{{}}, Failed: []Unmeasured{{}}},
		"peer_id shards proofs failures segment index reason silences":                                    Audited{Failures: []UnprovenShard{{}}},
		"checks name status detail advice":                                                                Diagnosis{Checks: []Check{{}}},
		"capacity used trash reserve free shards":                                                         StoreStats{},
	} {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, match := range field.FindAllSubmatch(b, -1) {
			got = append(got, string(match[1]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%T:\ngot  %s\nwant %s", doc, strings.Join(got, " "), want)
		}
	}
}
