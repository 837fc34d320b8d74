package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/measure"
	"datamesh/internal/mesh"
	"datamesh/internal/transfer"
)

// askedMost bounds how many members a check asks to do something.
const askedMost = 16

// checkClock compares this node's clock with those of members.
func checkClock(ctx context.Context, l *link, answering []mesh.Presence) Check {
	var mu sync.Mutex // guards offsets
	var offsets []time.Duration
	var wg sync.WaitGroup
	for _, g := range answering[:min(len(answering), askedMost)] {
		wg.Go(func() {
			s, err := l.line(ctx, g.Record.Peer)
			if err != nil {
				return
			}
			defer mesh.Abort(s)
			if r, err := measure.Clock(ctx, s); err == nil {
				mu.Lock()
				defer mu.Unlock()
				offsets = append(offsets, r.Offset)
			}
		})
	}
	wg.Wait()
	return judgeClock(offsets)
}

// A dialBack is what came of asking a member to reach this node.
type dialBack struct {
	seen  netip.Addr // where the member sees this node
	tried []mesh.Reached
	err   error
}

// checkReach has members dial this node. Those on this machine prove nothing
// about others.
func (n *Node) checkReach(ctx context.Context, l *link, answering []mesh.Presence) Check {
	const name = "reach"
	if n.opt.Role != Storage {
		return skipped(name, "no node of this home runs")
	}
	if len(answering) == 0 {
		return skipped(name, "there is no other member to ask")
	}
	own := hosts(l.net.Addrs())
	var asked []dialBack
	for _, g := range answering { // one after the other: each makes connections
		if len(asked) < askedMost/4 && isElsewhere(own, g.Record.Addrs) {
			asked = append(asked, l.dialBack(ctx, g.Record.Peer))
		}
	}
	if len(asked) == 0 {
		return skipped(name, "all %d members that answer are on this machine, and say nothing about others", len(answering))
	}
	return judgeReach(l.net.Port(), own, asked)
}

// isElsewhere reports whether a member has an address that this machine has not.
func isElsewhere(own map[netip.Addr]bool, addrs []string) bool {
	for ip := range hosts(addrs) {
		if !own[ip] {
			return true
		}
	}
	return false
}

func (l *link) dialBack(ctx context.Context, id datamesh.PeerID) (d dialBack) {
	s, err := l.line(ctx, id)
	if err != nil {
		return dialBack{err: err}
	}
	defer mesh.Abort(s)
	d.seen, d.tried, d.err = measure.DialBack(ctx, s)
	own := l.net.Addrs()
	d.tried = slices.DeleteFunc(d.tried, func(r mesh.Reached) bool { return !slices.Contains(own, r.Addr) })
	return d
}

// judgeReach judges what members on other machines say.
func judgeReach(port int, own map[netip.Addr]bool, asked []dialBack) Check {
	const name = "reach"
	reached, tried := []string{}, []string{}
	var strange, last string
	for _, d := range asked {
		if d.err != nil {
			last = d.err.Error()
			continue
		}
		if len(d.tried) == 0 && !own[d.seen] {
			strange = d.seen.String()
		}
		for _, a := range d.tried {
			tried = append(tried, a.Addr)
			if a.Answers {
				reached = append(reached, a.Addr)
			}
		}
	}
	switch {
	case len(reached) > 0:
		slices.Sort(reached)
		return ok(name, "members on other machines reach it at %s", strings.Join(slices.Compact(reached), ", "))
	case len(tried) > 0:
		slices.Sort(tried)
		return failed(name, fmt.Sprintf("open TCP and UDP port %d in the firewall of this machine", port),
			"no member reaches it at %s", strings.Join(slices.Compact(tried), ", "))
	case strange != "":
		return failed(name, fmt.Sprintf("forward TCP and UDP port %d of the router to this machine", port),
			"members see this node at %s, which is none of its addresses", strange)
	}
	return warning(name, `try again later: datamesh doctor`, "no member has tried: %s", last)
}

// spoken are the protocols that this program knows.
var spoken = []string{"hello/1", "ring/1", transfer.Protocol, measure.Protocol}

// isNewer reports whether a peer's program, or one of its protocols, is newer
// than what is known here.
func isNewer(agent string, protocols []string) bool {
	if newerThan(agent, Agent) {
		return true
	}
	return slices.ContainsFunc(protocols, func(p string) bool {
		return slices.ContainsFunc(spoken, func(known string) bool { return newerThan(p, known) }) && !slices.Contains(spoken, p)
	})
}

// newerThan compares what is like name/1.2: it is false if the names differ.
func newerThan(a, b string) bool {
	nameA, versionA, _ := strings.Cut(a, "/")
	nameB, versionB, _ := strings.Cut(b, "/")
	return nameA == nameB && slices.Compare(numbers(versionA), numbers(versionB)) > 0
}

func numbers(version string) (all []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		all = append(all, n)
	}
	return all
}
