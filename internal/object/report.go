package object

import (
	"context"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/store"

	"golang.org/x/sync/semaphore"
)

// report tells the registrars of every segment who holds it. It returns when
// a majority of each segment's has taken it down, and at least one more than
// may vanish, and the others have had a moment more. Kind: Unavailable.
func (p *put) report(ctx context.Context) error {
	view := p.o.net.View()
	reports := map[datamesh.PeerID][]store.Report{}
	missing := map[datamesh.SegmentID]int{} // acknowledgements
	for _, s := range p.placed {
		peers := registrars(view, s.desc)
		missing[s.desc.Segment] = max(len(peers)/2, p.bar(view, s.desc)) + 1
		for _, peer := range peers {
			reports[peer] = append(reports[peer], reportOf(s))
		}
	}
	type ack struct {
		peer datamesh.PeerID
		err  error
	}
	acks := make(chan ack, len(reports)) // so that nobody waits for a reader who has left
	limit := semaphore.NewWeighted(16)
	var senders sync.WaitGroup
	defer senders.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for peer, list := range reports {
		senders.Go(func() {
			err := limit.Acquire(ctx, 1)
			if err == nil {
				err = p.tell(ctx, peer, list)
				limit.Release(1)
			}
			acks <- ack{peer, err}
		})
	}
	failed := map[datamesh.PeerID]error{}
	open := len(missing) // segments with some missing
	manifest := p.placed[len(p.placed)-1].desc.Segment
	var moment <-chan time.Time
	for left := len(reports); left > 0; left-- {
		select {
		case a := <-acks:
			if a.err != nil {
				failed[a.peer] = a.err
				continue
			}
			for _, r := range reports[a.peer] {
				if r.Descriptor.Segment == manifest {
					p.found++
				}
				if missing[r.Descriptor.Segment]--; missing[r.Descriptor.Segment] == 0 {
					open--
				}
			}
			if open == 0 && moment == nil {
				moment = time.After(reportTime)
			}
		case <-moment:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for segment, n := range missing {
		if n > 0 {
			return errs.New(errs.Unavailable, "too few of the peers that keep track of %s answered: %s", segment, reasons(failed))
		}
	}
	return nil
}

// tell reports to one registrar, who may have become one since the segments
// were journaled.
func (p *put) tell(ctx context.Context, peer datamesh.PeerID, list []store.Report) error {
	for _, r := range list {
		if err := p.entry.asked(r.Descriptor.Segment, peer); err != nil {
			return err
		}
	}
	return p.o.net.Report(ctx, peer, list)
}

// reportTime is how long the last registrars have once a majority has answered.
const reportTime = 500 * time.Millisecond

func reportOf(s placed) store.Report {
	r := store.Report{Descriptor: s.desc}
	for index, peers := range s.holders {
		for _, peer := range peers {
			r.Holdings = append(r.Holdings, store.Holding{Index: index, Peer: peer})
		}
	}
	return r
}
