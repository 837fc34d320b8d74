package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/node"
)

// ready is what bootstrap and service print when they serve.
type ready struct {
	PeerID datamesh.PeerID `json:"peer_id"`
	Addrs  []string        `json:"addrs"`
	Mesh   datamesh.MeshID `json:"mesh"`
}

// serve runs a storage node and its local API until ctx ends, which is no
// error. It prints one document, or one line by text, when both are there.
func (c *cli) serve(ctx context.Context, o node.Options, text func(io.Writer, ready)) (err error) {
	slog.SetDefault(o.Log) // what modules say by package log goes there too
	n, err := node.Open(ctx, o)
	if ctx.Err() != nil && n == nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeNode(ctx, n)) }()

	listener, err := api.Listen(context.WithoutCancel(ctx), o.Home.Socket())
	if err != nil {
		return err
	}
	defer listener.Close()
	r, err := describe(context.WithoutCancel(ctx), n)
	if err != nil {
		return err
	}
	if err := c.print(r, func(w io.Writer) { text(w, r) }); err != nil {
		return err
	}
	stop := supervisor{o.Log}.ready(o.Home.Socket(), r)
	ended := context.AfterFunc(ctx, stop)
	err = api.Serve(ctx, listener, n)
	if ended() {
		stop()
	}
	return err
}

func describe(ctx context.Context, n *node.Node) (ready, error) {
	stats, err := n.Stats(ctx)
	if err != nil {
		return ready{}, err
	}
	return ready{PeerID: stats.PeerID, Addrs: n.Addrs(), Mesh: stats.Mesh}, nil
}
