package sim

import (
	"container/heap"
	"time"
)

// An event is something that happens at a time. Of those at one time, that
// comes first which was arranged first.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

// A calendar has the events that are to come.
type calendar struct {
	list []event
	seq  uint64
}

// add arranges an event.
func (c *calendar) add(at time.Time, do func()) {
	c.seq++
	heap.Push((*events)(c), event{at, c.seq, do})
}

// next returns and takes out the next event, if it is not later than end.
func (c *calendar) next(end time.Time) (event, bool) {
	if len(c.list) == 0 || c.list[0].at.After(end) {
		return event{}, false
	}
	return heap.Pop((*events)(c)).(event), true
}

// events is a calendar as container/heap sees it.
type events calendar

func (c *events) Len() int { return len(c.list) }
func (c *events) Less(i, j int) bool {
	a, b := &c.list[i], &c.list[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.seq < b.seq
}
func (c *events) Swap(i, j int) { c.list[i], c.list[j] = c.list[j], c.list[i] }
func (c *events) Push(x any)    { c.list = append(c.list, x.(event)) }
func (c *events) Pop() any {
	last := len(c.list) - 1
	x := c.list[last]
	c.list[last] = event{}
	c.list = c.list[:last]
	return x
}
