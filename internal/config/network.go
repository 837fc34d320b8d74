package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"datamesh"
	"datamesh/internal/errs"
)

// A Peer is where to find a member of a mesh. Without an id it is whoever
// listens at the address, which only [Local] is trusted with.
type Peer struct {
	ID   datamesh.PeerID
	Addr string // multiaddr
}

// String returns PEER_ID@ADDR, or ADDR alone.
func (p Peer) String() string {
	if p.ID == (datamesh.PeerID{}) {
		return p.Addr
	}
	return p.ID.String() + "@" + p.Addr
}

// MarshalText returns what String does.
func (p Peer) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// ParsePeer reads PEER_ID@ADDR. Kind: Invalid.
func ParsePeer(s string) (Peer, error) {
	id, addr, ok := strings.Cut(s, "@")
	if !ok {
		return Peer{}, peerHint(errs.New(errs.Invalid, "%q is no peer", s))
	}
	p := Peer{Addr: addr}
	var err error
	if p.ID, err = datamesh.ParsePeerID(id); err != nil {
		return Peer{}, peerHint(errs.New(errs.Invalid, "peer %q: %w", s, err))
	}
	if !isAddr(addr) {
		return Peer{}, peerHint(errs.New(errs.Invalid, "peer %q: %q is no address such as /ip4/192.0.2.7/tcp/40871", s, addr))
	}
	return p, nil
}

func peerHint(err error) error {
	return errs.WithHint(err, `a peer is PEER_ID@ADDR; see both with "datamesh id" on its machine`)
}

// isAddr reports whether s looks like the address of a node; what it means in
// the end is package mesh's to say.
func isAddr(s string) bool {
	parts := strings.Split(s, "/") // "", "ip4", IP, "tcp", PORT, …
	if len(parts) < 5 || parts[0] != "" || len(s) > 512 || strings.ContainsAny(s, ", \t\\\"@") || plainText(s) != nil {
		return false
	}
	ip, err := netip.ParseAddr(parts[2])
	switch parts[1] {
	case "ip4":
		if err != nil || !ip.Is4() {
			return false
		}
	case "ip6":
		if err != nil || !ip.Is6() {
			return false
		}
	case "dns", "dns4", "dns6":
		if parts[2] == "" {
			return false
		}
	default:
		return false
	}
	port, err := strconv.ParseUint(parts[4], 10, 16)
	return (parts[3] == "tcp" || parts[3] == "udp") && err == nil && port > 0
}

// A Network is some peers under a name, to join a mesh through.
type Network struct {
	Name  string
	Peers []Peer
}

// Local names the network of whoever listens on this machine, at the port that
// the documentation uses; local:PORT is the same at another port.
const (
	Local     = "local"
	localPort = 40871
)

// localPeers returns the peer that local or local:PORT means.
func localPeers(ref string) ([]Peer, bool) {
	port := localPort
	if rest, ok := strings.CutPrefix(ref, Local+":"); ok {
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || n == 0 {
			return nil, false
		}
		port = int(n)
	} else if ref != Local {
		return nil, false
	}
	return []Peer{{Addr: "/ip4/127.0.0.1/tcp/" + strconv.Itoa(port)}}, true
}

const maxNetworkName = 64

// CheckNetworkName tells whether a network may be called so. Kind: Invalid.
func CheckNetworkName(name string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	switch {
	case name == Local:
		return errs.WithHint(errs.New(errs.Invalid, "the network %q is built in", Local), "choose another name")
	case name == "" || len(name) > maxNetworkName || strings.ContainsFunc(name, odd):
		return errs.WithHint(errs.New(errs.Invalid, "%q is no name of a network", name),
			"a name is 1 to %d letters, digits, - and _", maxNetworkName)
	}
	return nil
}

// Peers returns the peers that ref means: one as PEER_ID@ADDR, or those of a
// network by its name. Kinds: Invalid, FileNotFound.
func (c Config) Peers(ref string) ([]Peer, error) {
	if strings.Contains(ref, "@") {
		p, err := ParsePeer(ref)
		return []Peer{p}, err
	}
	if peers, ok := localPeers(ref); ok {
		return peers, nil
	}
	if i := slices.IndexFunc(c.Networks, func(n Network) bool { return n.Name == ref }); i >= 0 {
		return c.Networks[i].Peers, nil
	}
	names := []string{Local}
	for _, n := range c.Networks {
		names = append(names, n.Name)
	}
	err := errs.New(errs.FileNotFound, "there is no network %q", ref)
	if near := nearest(ref, names); distance(ref, near) <= 2 {
		return nil, errs.WithHint(err, "did you mean %s?", near)
	}
	return nil, errs.WithHint(err, `see them with "datamesh networks", or add it: datamesh networks add %s PEER_ID@ADDR`, ref)
}

// Doors returns the peers that mesh.bootstrap means.
func (c Config) Doors() []Peer {
	var all []Peer
	for _, ref := range c.Mesh.Bootstrap {
		peers, _ := c.Peers(ref) // that it means some was checked
		all = append(all, peers...)
	}
	return all
}

// parseDoors reads mesh.bootstrap. Whether its networks exist is not known
// until all of the file is read.
func parseDoors(s string) ([]string, error) {
	doors := splitList(s)
	for _, ref := range doors {
		if strings.Contains(ref, "@") {
			if _, err := ParsePeer(ref); err != nil {
				return nil, err
			}
		} else if _, local := localPeers(ref); !local {
			if err := CheckNetworkName(ref); err != nil {
				return nil, err
			}
		}
	}
	return doors, nil
}

// maxAnnounced is less than a member's record has room for.
const maxAnnounced = 8

func parseAnnounced(s string) ([]string, error) {
	addrs := splitList(s)
	if len(addrs) > maxAnnounced {
		return nil, errs.New(errs.Invalid, "%d addresses", len(addrs))
	}
	for _, a := range addrs {
		if !isAddr(a) || !isOne(a) {
			return nil, errs.New(errs.Invalid, "%q is no address that others can reach", a)
		}
	}
	return addrs, nil
}

// isOne reports whether an address is of one machine, and of nothing behind it.
func isOne(addr string) bool {
	parts := strings.Split(addr, "/")
	ip, err := netip.ParseAddr(parts[2])
	if ip = ip.Unmap(); err == nil && (ip.IsUnspecified() || ip.IsMulticast()) {
		return false
	}
	behind := strings.Join(parts[5:], "/")
	return parts[3] == "tcp" && behind == "" || parts[3] == "udp" && behind == "quic-v1"
}

// isLoopback reports whether an announced address is one of this machine alone.
func isLoopback(addr string) bool {
	ip, err := netip.ParseAddr(strings.Split(addr, "/")[2])
	return err == nil && ip.Unmap().IsLoopback()
}

func formatDoors(doors []string) string { return strings.Join(doors, ",") }

func parsePeers(elements []string) ([]Peer, error) {
	if len(elements) == 0 {
		return nil, peerHint(errs.New(errs.Invalid, "a network has at least one peer"))
	}
	peers := make([]Peer, len(elements))
	for i, e := range elements {
		var err error
		if peers[i], err = ParsePeer(e); err != nil {
			return nil, err
		}
	}
	return peers, nil
}
