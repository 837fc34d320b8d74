//go:build unix

package main

import (
	"fmt"
	"net"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// slowDoor returns the flags to join the mesh by through a line that carries
// at most so many bytes a second each way. What has come in by it stays on it.
func (x *member) slowDoor(t *testing.T, perSecond int64) []string {
	t.Helper()
	addr, err := ma.NewMultiaddr(nearestAddr(x.ready.Addrs))
	if err != nil {
		t.Fatal(err)
	}
	network, there, err := manet.DialArgs(addr)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, there)
			if err != nil {
				near.Close()
				continue
			}
			go carry(near, far, perSecond)
			go carry(far, near, perSecond)
		}
	}()
	return []string{"--bootstrap-peer", x.ready.PeerID.String(),
		"--bootstrap-addr", fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)}
}

func carry(to, from net.Conn, perSecond int64) {
	defer to.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		<-time.After(time.Duration(n) * time.Second / time.Duration(perSecond))
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
