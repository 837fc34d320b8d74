package mesh

import (
	"context"
	"crypto/ed25519"
	"net"
	"time"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	multistream "github.com/multiformats/go-multistream"
)

// identifyTime bounds [Identify].
const identifyTime = 5 * time.Second

// Identify returns who listens at a TCP multiaddr, as proven by its TLS
// handshake, to a caller that shows a key of no meaning. It trusts whoever is
// there, so that it is for addresses that are trusted themselves, such as
// loopback, and for checking that a known peer can be reached.
// Kinds: Invalid (no TCP multiaddr), Unavailable.
func Identify(ctx context.Context, addr string) (datamesh.PeerID, error) {
	var id datamesh.PeerID
	m, err := ma.NewMultiaddr(addr)
	if err != nil || !isTCP(m) {
		return id, errs.New(errs.Invalid, "%q is not a TCP multiaddr", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, identifyTime)
	defer cancel()
	var d manet.Dialer
	conn, err := d.DialContext(ctx, m)
	if err != nil {
		return id, errs.New(errs.Unavailable, "nothing answers at %s: %w", addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	id, err = identify(ctx, conn)
	if err != nil {
		return id, errs.New(errs.Unavailable, "what answers at %s is no node: %w", addr, err)
	}
	return id, nil
}

func identify(ctx context.Context, conn net.Conn) (id datamesh.PeerID, err error) {
	if err := multistream.SelectProtoOrFail(libp2ptls.ID, conn); err != nil {
		return id, err
	}
	_, seed, err := ed25519.GenerateKey(nil)
	if err != nil {
		return id, err
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(seed)
	if err != nil {
		return id, err
	}
	tls, err := libp2ptls.New(libp2ptls.ID, key, nil)
	if err != nil {
		return id, err
	}
	secure, err := tls.SecureOutbound(ctx, conn, "") // whoever it is
	if err != nil {
		return id, err
	}
	return datamesh.PeerFromMultihash(string(secure.RemotePeer()))
}
