package repair

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
	"time"

	"datamesh"
)

// A turn is a task's place in a queue.
type turn struct {
	segment datamesh.SegmentID
	spare   int
	due     time.Time
	seq     uint64
}

func (t turn) compareTime(o turn) int {
	return cmp.Or(t.due.Compare(o.due), bytes.Compare(t.segment[:], o.segment[:]), cmp.Compare(t.seq, o.seq))
}

// A queue is a heap of turns, the least first.
type queue struct {
	list []turn
	less func(a, b turn) bool
}

// keep drops all turns but those that match.
func (q *queue) keep(match func(turn) bool) {
	q.list = slices.DeleteFunc(q.list, func(t turn) bool { return !match(t) })
	heap.Init((*turns)(q))
}

func (q *queue) push(t turn) { heap.Push((*turns)(q), t) }
func (q *queue) pop() turn   { return heap.Pop((*turns)(q)).(turn) }

// turns is a queue as container/heap sees it.
type turns queue

func (q *turns) Len() int           { return len(q.list) }
func (q *turns) Less(i, j int) bool { return q.less(q.list[i], q.list[j]) }
func (q *turns) Swap(i, j int)      { q.list[i], q.list[j] = q.list[j], q.list[i] }
func (q *turns) Push(x any)         { q.list = append(q.list, x.(turn)) }
func (q *turns) Pop() any {
	last := len(q.list) - 1
	x := q.list[last]
	q.list = q.list[:last]
	return x
}
