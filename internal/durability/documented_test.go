package durability

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// The tables in docs/durability.md are computed. With -update the test writes
// them:
//
//	go test ./internal/durability -run Documented -update
var update = flag.Bool("update", false, "write the tables in docs/durability.md anew")

const page = "../../docs/durability.md"

func TestNinesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	want := got
	for heading, table := range map[string]string{
		"## Nines by code, loss and repair": byCode(t),
		"## Nines with failure domains":     byDomains(t),
		"## Nines demonstrated":             demonstrated(t),
	} {
		want = withTable(t, want, heading, table)
	}
	if *update && want != got {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != got {
		t.Errorf("%s has not what the program computes: go test ./internal/durability -run Documented -update\nwant:\n%s\ngot:\n%s", page, want, got)
	}
}

// withTable puts a table in place of the first one below a heading.
func withTable(t *testing.T, text, heading, table string) string {
	t.Helper()
	before, below, ok := strings.Cut(text, heading+"\n")
	first := strings.Index(below, "\n|")
	if next := strings.Index(below, "\n## "); !ok || first < 0 || next >= 0 && next < first {
		t.Fatalf("%s has no table below %q", page, heading)
	}
	intro, rest := below[:first+1], below[first+1:]
	for strings.HasPrefix(rest, "|") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return before + heading + "\n" + intro + table + rest
}

// rounded is how nines are printed: never more than there are.
func rounded(nines float64) string {
	if nines >= MostNines {
		return fmt.Sprint(MostNines)
	}
	return fmt.Sprintf("%.1f", math.Floor(nines*10)/10)
}

// rate returns the rate at which so much of all is lost within a year.
func rate(yearly float64) float64 { return -math.Log1p(-yearly) }

func modelled(t *testing.T, m Model) string { return rounded(Nines(annual(t, m))) }

func byCode(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| code | holders lost a year | repair in 1 h | in 1 day | in 1 week | never |\n|---|---|---|---|---|---|\n")
	for _, code := range [][2]int{{1, 2}, {4, 2}, {8, 4}, {10, 20}} {
		for _, yearly := range []float64{0.01, 0.1, 0.5} {
			fmt.Fprintf(&b, "| %d+%d | %.0f %% |", code[0], code[1], 100*yearly)
			for _, repair := range []time.Duration{time.Hour, day, week, Never} {
				fmt.Fprintf(&b, " %s |", modelled(t, Model{K: code[0], M: code[1], Loss: rate(yearly), Repair: repair}))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func byDomains(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| shards in each domain | domains lost a year: none | 0.1 % | 1 % | 10 % |\n|---|---|---|---|---|\n")
	for _, domains := range [][]int{{1, 1, 1, 1, 1, 1}, {2, 2, 1, 1}, {2, 2, 2}, {3, 3}, {6}} {
		fmt.Fprintf(&b, "| %s |", strings.Trim(strings.ReplaceAll(fmt.Sprint(domains), " ", ", "), "[]"))
		for _, yearly := range []float64{0, 0.001, 0.01, 0.1} {
			fmt.Fprintf(&b, " %s |", modelled(t, Model{K: 4, M: 2, Loss: rate(0.1), Repair: day, Domains: domains, DomainLoss: rate(yearly)}))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func demonstrated(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| objects lost | in 100 object-years | 10,000 | 1,000,000 | 1,000,000,000 |\n|---|---|---|---|---|\n")
	for _, lost := range []int{0, 1, 10} {
		fmt.Fprintf(&b, "| %d |", lost)
		for _, years := range []float64{100, 1e4, 1e6, 1e9} {
			nines, err := Demonstrated(lost, years)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %s |", rounded(nines))
		}
		b.WriteString("\n")
	}
	return b.String()
}
