package ring

import (
	"container/heap"
	"time"
)

// schedule puts a member where it belongs on the agenda.
func (m *Machine) schedule(x *member) {
	x.wake = min(x.again, x.expire)
	if x.probing != nil {
		x.wake = min(x.wake, x.probing.deadline)
	}
	switch {
	case x.index < 0 && x.wake < never:
		heap.Push(&m.due, x)
	case x.index >= 0 && x.wake < never:
		heap.Fix(&m.due, x.index)
	case x.index >= 0:
		heap.Remove(&m.due, x.index)
	}
}

// An agenda is a heap of members by the time when something is due for them.
type agenda []*member

func (a agenda) soonest() time.Duration {
	if len(a) == 0 {
		return never
	}
	return a[0].wake
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].wake < a[j].wake }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}
func (a *agenda) Push(x any) {
	x.(*member).index = len(*a)
	*a = append(*a, x.(*member))
}
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = nil
	*a, x.index = (*a)[:last], -1
	return x
}
