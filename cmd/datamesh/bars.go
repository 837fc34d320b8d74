package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"datamesh/internal/node"
)

// bars are the progress bars of one transfer. They have no colours, and are
// gone when it has ended.
type bars struct {
	all *mpb.Progress
	of  []*mpb.Bar
}

// newBars draws on w, which is a terminal.
func newBars(w io.Writer, kind string) *bars {
	b := &bars{all: newProgress(w)}
	stages := []string{"received"}
	switch kind {
	case node.ScrubTransfer:
		stages = []string{"read"}
	case node.RepairTransfer:
		stages = []string{"restored"}
	case node.PutTransfer:
		stages = []string{"sealed", "sent", "confirmed"}
	}
	for _, stage := range stages {
		b.of = append(b.of, b.all.New(0, barStyle(),
			mpb.BarFillerTrim(), // the blanks about it are there where it has no room, too
			mpb.PrependDecorators(decor.Name(stage, decor.WCSyncSpaceR), decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Name(" "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO))))
	}
	return b
}

func newProgress(w io.Writer) *mpb.Progress {
	return mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(barsEvery))
}

func barStyle() mpb.BarStyleComposer {
	return mpb.BarStyle().Lbound(" [").Filler("=").Tip(">").Padding(" ").Rbound("]")
}

// A share is the progress bar of what is counted in percent.
type share struct {
	all *mpb.Progress
	of  *mpb.Bar
}

// newShare draws on w, which is a terminal.
func newShare(w io.Writer, stage string) *share {
	all := newProgress(w)
	return &share{all, all.New(100, barStyle(), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Name(stage+" "), decor.Percentage()),
		mpb.AppendDecorators(decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))}
}

// Write writes whole lines above the bar.
func (s *share) Write(p []byte) (int, error) { return s.all.Write(p) }

func (s *share) set(percent int64) { s.of.SetCurrent(min(percent, 99)) }

func (s *share) close() {
	s.of.Abort(true)
	s.all.Wait()
}

// Write writes whole lines above the bars.
func (b *bars) Write(p []byte) (int, error) { return b.all.Write(p) }

func (b *bars) set(t node.Transfer) {
	values := [][2]int64{{t.Received, t.Size}}
	if t.Kind == node.PutTransfer {
		values = [][2]int64{{t.Sealed, t.Size}, {t.Sent, t.Total}, {t.Confirmed, t.Total}}
	}
	for i, v := range values {
		done, total := v[0], v[1]
		b.of[i].SetTotal(max(total, done), false)
		b.of[i].SetCurrent(min(done, max(total, done)))
	}
}

func (b *bars) close() {
	for _, bar := range b.of {
		bar.Abort(true)
	}
	b.all.Wait()
}
