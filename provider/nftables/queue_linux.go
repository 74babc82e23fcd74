package nftables

import "container/heap"

// queue is a heap of elements, the next end first. Each knows its place, so that moving an end leaves nothing behind.
type queue []*elem

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = int32(i+1), int32(j+1)
}

// Push is for container/heap.
func (q *queue) Push(e any) {
	el := e.(*elem)
	*q = append(*q, el)
	el.at = int32(len(*q))
}

// Pop is for container/heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.at = 0
	return e
}

// set moves e to end. What ends with 0, for nobody wants it, leaves the queue and keeps its due: see book.edits.
func (q *queue) set(e *elem, end int64) {
	switch {
	case e.port == 0:
	case end == 0:
		if e.at != 0 {
			heap.Remove(q, int(e.at-1))
		}
	case e.at == 0:
		e.due = end
		heap.Push(q, e)
	default:
		e.due = end
		heap.Fix(q, int(e.at-1))
	}
}

// next is the earliest end.
func (q queue) next() int64 {
	if len(q) == 0 {
		return forever
	}
	return q[0].due
}

// take removes the element that ends next and returns its port.
func (q *queue) take() uint16 {
	e := heap.Pop(q).(*elem)
	e.due = 0
	return e.port
}
