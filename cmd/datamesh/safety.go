package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"datamesh/internal/node"
)

// safetyRows writes how safe one object is, or the least of several, in a few
// rows of a table.
func safetyRows(w io.Writer, survived int, s node.Safety, b node.Basis, now time.Time) {
	row(w, "survives", survives(survived))
	row(w, "hosts", domains(s.Hosts, "host"))
	row(w, "sites", domains(s.Sites, "site"))
	row(w, "shards", liveShards(s.Shards, now))
	row(w, "modelled", nines(s.Modelled)+" nines against a loss within a year, with")
	row(w, "  losses", fmt.Sprintf("%s of the members a year (%s); %s of the hosts, %s of the sites (%s)",
		percent(b.MemberLoss), b.MemberLossFrom, percent(b.HostLoss), percent(b.SiteLoss), node.FromAssumed))
	row(w, "  repair", fmt.Sprintf("in %s (%s)", duration(b.RepairHours), b.RepairFrom))
	row(w, "demonstrated", demonstrated(s.Demonstrated, b))
}

// domains says how many hosts or sites may vanish, and of whom that is not
// known.
func domains(d node.DomainSafety, what string) string {
	switch {
	case d.Survives < 0:
		return "nothing more"
	case !d.Known:
		return fmt.Sprintf("not known: no holder has a label of its %s (member.%s)", what, what)
	}
	text := "the loss of no " + what
	if d.Survives > 0 {
		text = "the loss of any " + count(d.Survives, what)
	}
	if d.Unlabelled == 0 {
		return fmt.Sprintf("%s of %d", text, d.Domains)
	}
	verb := "have"
	if d.Unlabelled == 1 {
		verb = "has"
	}
	return fmt.Sprintf("%s of %d at least: %s %s no label, and may be in any", text, d.Domains, count(d.Unlabelled, "holder"), verb)
}

// liveShards says how many shards there are, and when they were last proven.
func liveShards(s node.ShardSafety, now time.Time) string {
	text := fmt.Sprintf("%d of %d live", s.Live, s.Total)
	switch {
	case s.Live == 0:
		return text
	case s.Proven == 0:
		return text + ", never proven"
	case s.Proven < s.Live:
		return fmt.Sprintf("%s; %d proven, the last %s ago, %d never", text, s.Proven, howLong(s.LastProof, now), s.Live-s.Proven)
	}
	return fmt.Sprintf("%s; all proven within %s, the last %s ago", text, howLong(s.OldestProof, now), howLong(s.LastProof, now))
}

// howLong says how long before now something was, roughly.
func howLong(t, now time.Time) string {
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return "a minute"
	case d < 2*time.Hour:
		return count(int(math.Ceil(d.Minutes())), "minute")
	case d < 48*time.Hour:
		return count(int(math.Ceil(d.Hours())), "hour")
	}
	return count(int(math.Ceil(d.Hours()/24)), "day")
}

// demonstrated says the nines that were shown, and by what.
func demonstrated(n float64, b node.Basis) string {
	what := "segment"
	if b.DemonstratedFrom == node.FromObjects {
		what = "object"
	}
	return fmt.Sprintf("%s nines: %s lost in %s %s-years", nines(n), count(b.DemonstratedLost, what), twoDigits(b.Years), what)
}

// nines writes nines, rounded down.
func nines(n float64) string { return fmt.Sprintf("%.1f", math.Floor(n*10+1e-9)/10) }

// percent says which share of those there are is lost at a rate a year.
func percent(rate float64) string { return twoDigits(-100*math.Expm1(-rate)) + " %" }

func duration(hours float64) string {
	switch {
	case hours < 2:
		return twoDigits(hours*60) + " minutes"
	case hours < 48:
		return twoDigits(hours) + " hours"
	}
	return twoDigits(hours/24) + " days"
}

// twoDigits writes the two digits of a number that count most, or all before
// its point.
func twoDigits(x float64) string {
	if x >= 10 || x <= 0 {
		return fmt.Sprintf("%.0f", x)
	}
	text := fmt.Sprintf("%.*f", max(1-int(math.Floor(math.Log10(x))), 0), x)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
