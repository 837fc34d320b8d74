//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/hash"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// The parts of a floor, in core-seconds for each GB (10^9 bytes) of content.
type parts struct {
	seal, code, hash float64 // of a put: all of its content, all of its shards
	open, check      float64 // of a get: of as many shards as are needed
	write            float64 // and sync, as many shards as a put makes
	out              float64 // and sync, of a get its content
	tls, stream      float64 // for each GB that is sent, both ends
}

// spread is how many bytes 4+2 stores for each that it is given.
const spread = 1.5

// floorBytes is how much each part is measured with.
const floorBytes = 256 << 20

// measureFloors finds out how fast this machine could put and get at best, if
// each byte were read, sealed, coded, hashed, sent, hashed and written once, and
// the other way, and all cores did nothing else and were never idle.
func measureFloors(ctx context.Context, l *lab) error {
	for range l.o.runs {
		if err := l.measureFloors(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) measureFloors(ctx context.Context) error {
	var p parts
	if err := p.codec(); err != nil {
		return err
	}
	if err := p.disk(l.dir); err != nil {
		return err
	}
	var err error
	if p.tls, err = overTLS(); err != nil {
		return fmt.Errorf("send over TLS: %w", err)
	}
	if p.stream, err = overStream(ctx); err != nil {
		return fmt.Errorf("send over libp2p: %w", err)
	}
	cores := float64(runtime.NumCPU())
	for _, by := range []struct {
		name string
		sent float64
	}{{floorTLS, p.tls}, {floorStream, p.stream}} {
		put := p.seal + p.code + p.hash + spread*by.sent + p.hash + p.write
		get := by.sent + p.check + p.open + p.out
		l.report.add(largePut, by.name, speed, cores/put*1000)
		l.report.add(largePut, by.name, effort, put)
		l.report.add(largeGet, by.name, speed, cores/get*1000)
		l.report.add(largeGet, by.name, effort, get)
	}
	for _, part := range []struct {
		name  string
		value float64
	}{
		{"seal", p.seal}, {"code 4+2", p.code}, {"hash all shards", p.hash}, {"hash the shards of a get", p.check}, {"open", p.open},
		{"write and sync all shards", p.write}, {"write and sync a file", p.out}, {"send 1 GB over TLS", p.tls}, {"send 1 GB over a libp2p stream", p.stream},
	} {
		l.report.add("parts of the floors", part.name, effort, part.value)
	}
	return nil
}

// perGB turns the time that was worked on so many bytes into core-seconds per GB.
func perGB(worked time.Duration, n int) float64 { return worked.Seconds() / (float64(n) / 1e9) }

// codec measures what a put and a get of whole segments compute.
func (p *parts) codec() error {
	code, err := erasure.New(4, 2)
	if err != nil {
		return err
	}
	text := make([]byte, datamesh.MaxContent)
	rand.Read(text)
	buf := make([]byte, code.BufferLen(datamesh.MaxSealed))
	var seal, coded, hashed, checked, opened time.Duration
	part := func(sum *time.Duration, f func() error) {
		began := ownTime()
		if err == nil {
			err = f()
		}
		*sum += ownTime() - began
	}
	bytesDone := 0
	for bytesDone < floorBytes && err == nil {
		var n int
		var key crypt.Key
		var sealed []byte
		var shards [][]byte
		part(&seal, func() (err error) {
			if n, err = crypt.Fill(buf, bytes.NewReader(text), len(text)); err == nil {
				key, sealed = crypt.Seal(buf, n)
			}
			return err
		})
		part(&coded, func() (err error) {
			shards, err = code.Encode(buf, len(sealed))
			return err
		})
		part(&hashed, func() error { hashAll(shards); return nil })
		part(&checked, func() error { hashAll(shards[:4]); return nil })
		part(&opened, func() error {
			n, err := crypt.Open(key, sealed)
			if err == nil {
				err = crypt.Drain(io.Discard, buf, n)
			}
			return err
		})
		bytesDone += n
	}
	p.seal, p.code, p.hash = perGB(seal, bytesDone), perGB(coded, bytesDone), perGB(hashed, bytesDone)
	p.open, p.check = perGB(opened, bytesDone), perGB(checked, bytesDone)
	return err
}

func hashAll(shards [][]byte) {
	for _, s := range shards {
		hash.Shard(s)
	}
}

// disk measures what it takes to write and sync shards, and a file as large.
func (p *parts) disk(dir string) error {
	shard := make([]byte, datamesh.MaxSealed/4)
	rand.Read(shard)
	var files []string
	defer func() {
		for _, file := range files {
			os.Remove(file)
		}
	}()
	began := ownTime()
	for n := 0; n < floorBytes*spread; n += len(shard) {
		file := filepath.Join(dir, fmt.Sprintf("floor-%d", len(files)))
		files = append(files, file)
		if err := writeFile(file, shard, 1); err != nil {
			return err
		}
	}
	p.write = perGB(ownTime()-began, floorBytes)
	began = ownTime()
	file := filepath.Join(dir, "floor")
	files = append(files, file)
	if err := writeFile(file, shard, floorBytes/len(shard)); err != nil {
		return err
	}
	p.out = perGB(ownTime()-began, floorBytes)
	return nil
}

// writeFile writes n times the same, and syncs it in the end.
func writeFile(file string, b []byte, n int) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for range n {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return f.Sync()
}

// overTLS returns what it takes to send a GB through TLS 1.3 on the loopback.
func overTLS() (float64, error) {
	cert, err := selfSigned()
	if err != nil {
		return 0, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return sending(func() (io.ReadCloser, error) { return listener.Accept() }, func() (io.WriteCloser, error) {
		// It is a measurement of one process that talks to itself.
		return tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	})
}

// selfSigned makes a certificate as libp2p's are: for ECDSA on P-256.
func selfSigned() (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// overStream returns what it takes to send a GB through a stream of libp2p, with
// TCP, TLS and yamux, on the loopback.
func overStream(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	window := *yamux.DefaultTransport
	window.InitialStreamWindowSize = 4 << 20 // as in the mesh
	options := []libp2p.Option{libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, &window), libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0")}
	from, err := libp2p.New(options...)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := libp2p.New(options...)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	const protocol = "/bench/1"
	streams := make(chan network.Stream, 1)
	to.SetStreamHandler(protocol, func(s network.Stream) { streams <- s })
	if err := from.Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		return 0, err
	}
	accept := func() (io.ReadCloser, error) {
		select {
		case s := <-streams:
			return s, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sending(accept, func() (io.WriteCloser, error) { return from.NewStream(ctx, to.ID(), protocol) })
}

// sending returns what it takes to send a GB from one end to the other, in
// core-seconds of both.
func sending(accept func() (io.ReadCloser, error), dial func() (io.WriteCloser, error)) (float64, error) {
	b := make([]byte, 1<<20)
	rand.Read(b)
	received := make(chan error, 1)
	began := ownTime()
	go func() {
		in, err := accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 1<<20))
			in.Close()
		}
		received <- err
	}()
	out, err := dial()
	for sent := 0; sent < floorBytes && err == nil; sent += len(b) {
		_, err = out.Write(b)
	}
	if err != nil {
		return 0, err
	}
	if err := out.Close(); err != nil {
		return 0, err
	}
	if err := <-received; err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return perGB(ownTime()-began, floorBytes), nil
}
