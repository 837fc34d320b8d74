package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/mesh"
)

func ok(name, format string, args ...any) Check {
	return Check{Name: name, Status: CheckOK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(name, format string, args ...any) Check {
	return Check{Name: name, Status: CheckSkipped, Detail: fmt.Sprintf(format, args...)}
}

func warning(name, advice, format string, args ...any) Check {
	return Check{Name: name, Status: CheckWarning, Detail: fmt.Sprintf(format, args...), Advice: advice}
}

func failed(name, advice, format string, args ...any) Check {
	return Check{Name: name, Status: CheckFailed, Detail: fmt.Sprintf(format, args...), Advice: advice}
}

// failedBy is a check that an error ended.
func failedBy(name string, err error) Check {
	return failed(name, errs.HintFor(err), "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Examine is [Node.Doctor] for a home whose node does not run. It needs neither
// the catalog nor the store.
func Examine(ctx context.Context, o Options) (d *Diagnosis, err error) {
	n := newNode(o, nil)
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	return n.Doctor(ctx)
}

// Doctor looks at what only a node can see: its port, and the mesh. What it
// finds wrong is in the result.
func (n *Node) Doctor(ctx context.Context) (*Diagnosis, error) {
	d := &Diagnosis{Checks: []Check{checkFiles(fileLimit())}}
	if n.opt.Role == Storage {
		d.Checks = append(d.Checks, n.checkUnlocked()...)
	}
	checks, err := n.checkMesh(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		checks = append(checks, failedBy("members", err))
	}
	d.Checks = append(d.Checks, checks...)
	return d, nil
}

// checkUnlocked tells, in the node of a home whose identity has a passphrase,
// whether it knows that.
func (n *Node) checkUnlocked() []Check {
	const name = "passphrase"
	if sealed, err := n.secrets.Protected(); err != nil || !sealed {
		return nil
	}
	if err := n.locked(); err != nil {
		return []Check{warning(name, "datamesh config set keys.passphrase_file FILE, and start the node anew",
			"the node does not know that of the identity: it keeps names in the mesh only when a command does: %v", err)}
	}
	return []Check{ok(name, "the node knows that of the identity")}
}

// checkMesh returns what it has found until an error ended it.
func (n *Node) checkMesh(ctx context.Context) ([]Check, error) {
	m, err := loadMemory(n.home)
	if err != nil {
		return nil, err
	}
	var checks []Check
	if n.opt.Role != Storage {
		checks = append(checks, n.checkPortFree(m))
	}
	if n.opt.Role != Storage && len(n.doors(m)) == 0 && len(m.members) == 0 {
		return append(checks, skipped("members", "this home knows of no mesh")), nil
	}
	own, err := nodeID(n.home)
	if err != nil {
		return checks, err
	}
	if n.opt.Role != Storage && len(n.doors(m)) == 0 && !m.knowsOther(own) {
		return append(checks, skipped("members", "this home knows of no other member")), nil
	}
	l, err := n.connect(ctx)
	if err != nil {
		return checks, err
	}
	if n.opt.Role == Storage {
		checks = append(checks, checkListens(ctx, l))
	}
	others := slices.DeleteFunc(l.net.Discover(ctx), func(g mesh.Presence) bool { return g.Record.Peer == own })
	checks = append(checks, n.checkMembers(others))
	answering := slices.DeleteFunc(others, func(g mesh.Presence) bool { return !g.Answers })
	return append(checks, n.checkReach(ctx, l, answering), checkClock(ctx, l, answering), checkVersions(l, answering)), nil
}

// checkListens finds out whether the node itself answers where it listens. What it
// announces others have to try: not every router takes one back to where one is.
func checkListens(ctx context.Context, l *link) Check {
	const name = "port"
	addrs, err := l.net.Listening()
	if err != nil {
		return failedBy(name, err)
	}
	var tcp []string
	for _, a := range addrs {
		if strings.Contains(a, "/tcp/") {
			tcp = append(tcp, a)
		}
	}
	if len(tcp) == 0 {
		return failed(name, "datamesh service --port 0", "it listens on no TCP address")
	}
	for _, a := range tcp {
		if id, err := mesh.Identify(ctx, a); err == nil && id == l.self {
			return ok(name, "it listens on %s", strings.Join(addrs, ", "))
		}
	}
	return failed(name, "stop the node and start it again: datamesh service", "it does not answer on any of %s", strings.Join(tcp, ", "))
}

// checkPortFree finds out whether a node could listen on the port that its
// home remembers.
func (n *Node) checkPortFree(m *memory) Check {
	const name = "port"
	if m.port == 0 {
		return skipped(name, "no node of this home has listened yet")
	}
	if err := mesh.CheckPort(n.opt.Config.Mesh.Listen, m.port); err != nil {
		return failed(name, "stop what uses it, or choose another: datamesh service --port 0", "%v", err)
	}
	return ok(name, "%d is free for the node of this home, which does not run", m.port)
}

func (n *Node) checkMembers(others []mesh.Presence) Check {
	const name = "members"
	answer := 0
	for _, g := range others {
		if g.Answers {
			answer++
		}
	}
	switch {
	case len(others) == 0 && n.opt.Role == Storage:
		return skipped(name, "this node is alone in its mesh")
	case len(others) == 0:
		return skipped(name, "this home knows of no other member")
	case answer == 0:
		return failed(name, "see that they run and can be reached: datamesh peers", "none of %d answers", len(others))
	case answer < len(others):
		return warning(name, "see who is away: datamesh peers", "%d of %d answer", answer, len(others))
	}
	return ok(name, "%d of %d answer", answer, len(others))
}

// checkVersions finds members whose program is newer than this one.
func checkVersions(l *link, answering []mesh.Presence) Check {
	const name = "versions"
	if len(answering) == 0 {
		return skipped(name, "no member answers")
	}
	var newer []string
	for _, g := range answering {
		if agent, protocols := l.net.Speaks(g.Record.Peer); isNewer(agent, protocols) {
			newer = append(newer, fmt.Sprintf("%s (%s)", g.Record.Peer, agent))
		}
	}
	if len(newer) > 0 {
		return warning(name, "update datamesh here; see what this one speaks: datamesh version",
			"%d of %d members speak something newer: %s", len(newer), len(answering), strings.Join(newer, ", "))
	}
	return ok(name, "no member speaks anything newer")
}

// clockLimits are what the clock of a node may differ by.
const (
	clockWarning = 5 * time.Second
	clockFailure = time.Hour
)

// judgeClock judges the offsets of others' clocks from this one. Of an even
// number that of the two in the middle counts which is nearer to this clock:
// of two that differ nobody knows who is right.
func judgeClock(offsets []time.Duration) Check {
	const name, advice = "clock", "timedatectl set-ntp true"
	if len(offsets) == 0 {
		return skipped(name, "no member tells the time")
	}
	slices.Sort(offsets)
	low, high := offsets[(len(offsets)-1)/2], offsets[len(offsets)/2]
	median := low
	if high.Abs() < low.Abs() {
		median = high
	}
	side := "behind"
	if median < 0 {
		side = "ahead of"
	}
	detail := fmt.Sprintf("this clock is %v %s the median of the %d that were asked", median.Abs().Round(time.Second), side, len(offsets))
	switch {
	case median.Abs() > clockFailure:
		return failed(name, advice, "%s", detail)
	case median.Abs() > clockWarning:
		return warning(name, advice, "%s", detail)
	}
	return ok(name, "it is within %v of the median of the %d that were asked", clockWarning, len(offsets))
}

// hosts returns the IPs of addresses.
func hosts(addrs []string) map[netip.Addr]bool {
	ips := map[netip.Addr]bool{}
	for _, a := range addrs {
		ips[mesh.IP(a)] = true
	}
	return ips
}
