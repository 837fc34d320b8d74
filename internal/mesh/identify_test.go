package mesh

import (
	"net"
	"strconv"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
)

func TestIdentifyNamesWhoListens(t *testing.T) {
	t.Parallel()
	n := start(t, first(t))
	addr := n.peer().Addr
	var got datamesh.PeerID
	var err error
	eventually(t, "an answer", func() bool { // in time, on a busy machine
		got, err = Identify(t.Context(), addr)
		return errs.KindOf(err) != errs.Unavailable
	})
	if err != nil || got != n.ID() {
		t.Errorf("Identify(%s) = %v, %v; want %v", addr, got, err, n.ID())
	}
}

func TestIdentifyRefusesWhatIsNoNode(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("220 mail.example.com\r\n"))
			c.Close()
		}
	}()
	addr := "/ip4/127.0.0.1/tcp/" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if _, err := Identify(t.Context(), addr); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("a mail server: %v, want Unavailable", err)
	}
	l.Close()
	if _, err := Identify(t.Context(), addr); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("nobody: %v, want Unavailable", err)
	}
	if _, err := Identify(t.Context(), "localhost:40871"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("no multiaddr: %v, want Invalid", err)
	}
}
