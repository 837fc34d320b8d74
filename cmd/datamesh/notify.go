package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"datamesh/internal/api"
	"datamesh/internal/errs"
)

// A supervisor is who has started a service and wants to hear of it, as
// systemd does by NOTIFY_SOCKET. Without one, nothing is said.
type supervisor struct{ log *slog.Logger }

// tell says something. A supervisor that is gone is no reason to end.
func (s supervisor) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("the supervisor of the service cannot be told of its state", "error", err)
	}
}

// ready says that the service serves, and from then on, as often as it is
// wanted, that it lives. stop ends that and says that the service drains.
func (s supervisor) ready(socket string, r ready) (stop func()) {
	s.tell(fmt.Sprintf("%s\nSTATUS=peer %s on %s", daemon.SdNotifyReady, r.PeerID, nearestAddr(r.Addrs)))
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx, socket) })
	return func() {
		cancel()
		watching.Wait()
		s.tell(daemon.SdNotifyStopping + "\nSTATUS=finishing what is under way")
	}
}

// watch says that the service lives for as long as its node answers, through
// its local API, that it does.
func (s supervisor) watch(ctx context.Context, socket string) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit == 0 {
		return
	}
	tick := time.NewTicker(limit / 2)
	defer tick.Stop()
	for {
		if err := alive(ctx, socket, limit/2); err == nil {
			s.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			s.log.Error("the node does not answer, and its supervisor is not told that it lives", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func alive(ctx context.Context, socket string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := api.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Alive(ctx); err != nil {
		return errs.New(errs.Unavailable, "within %v: %w", limit, err)
	}
	return nil
}
