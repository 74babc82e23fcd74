package store

import "github.com/ajar-access/ajar"

// cache holds the documents that a batch has read and written: those that commit together often need the same policy
// and machine, and nobody else can change them meanwhile. It is forgotten whenever something is undone.
type cache map[cacheKey]cached

type cacheKey struct {
	kind ajar.DocKind
	key  string
}

type cached struct {
	rev, seq int64
	body     []byte
}

// The most documents that are held.
const cacheMost = 4096

func (c cache) keep(kind ajar.DocKind, key string, d cached) {
	if c != nil && len(c) < cacheMost {
		c[cacheKey{kind, key}] = d
	}
}

func (c cache) drop(kind ajar.DocKind, key string) { delete(c, cacheKey{kind, key}) }
