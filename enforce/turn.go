package enforce

import "container/heap"

// turn is a moment at which an entry changes by itself. It is stale when the entry has another one by then.
type turn struct {
	at int64
	e  *entry
}

// turns is a heap of them, the earliest first.
type turns []turn

func (t *turns) push(x turn) { heap.Push((*turnHeap)(t), x) }
func (t *turns) pop() turn   { return heap.Pop((*turnHeap)(t)).(turn) }

// compact drops what is stale.
func (t *turns) compact() {
	kept := (*t)[:0]
	for _, x := range *t {
		if x.e.turn == x.at {
			kept = append(kept, x)
		}
	}
	clear((*t)[len(kept):])
	*t = kept
	heap.Init((*turnHeap)(t))
}

type turnHeap turns

func (h turnHeap) Len() int           { return len(h) }
func (h turnHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h turnHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *turnHeap) Push(x any)        { *h = append(*h, x.(turn)) }
func (h *turnHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = turn{}
	*h = old[:len(old)-1]
	return x
}
