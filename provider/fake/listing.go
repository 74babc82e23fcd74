package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/ajar-access/ajar"
)

// Listing is what there is to be found below one scope, and what is wrong with finding it. A target's places are hosts of
// the firewall.
type Listing struct {
	Found []ajar.Found
	Page  int   // how many a page has; 0 = 100
	Stop  int   // the page after which Err comes, counted from 1; 0 = before the first
	Err   error // what comes then; nil = all goes well
	Hang  bool  // nothing comes at all
}

// SetListing makes l what is found below scope; nil takes the scope out of what is listed.
func (f *Firewall) SetListing(scope ajar.ID, l *Listing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listings == nil {
		f.listings = map[ajar.ID]*Listing{}
	}
	if f.listings[scope] = l; l == nil {
		delete(f.listings, scope)
	}
}

// Listings counts how often scopes were listed, and Most how many listings ran at once.
func (f *Firewall) Listings() (n, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed, f.most
}

// Scopes implements ajar.Finder.
func (f *Firewall) Scopes(context.Context) (all []ajar.ID, err error) {
	if err := f.readListing(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.listings {
		all = append(all, s)
	}
	slices.Sort(all)
	return all, nil
}

// Find implements ajar.Finder.
func (f *Firewall) Find(ctx context.Context, scope ajar.ID, page func([]ajar.Found) error) error {
	f.mu.Lock()
	l := f.listings[scope]
	f.listed++
	f.listing++
	f.most = max(f.most, f.listing)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.listing--
		f.mu.Unlock()
	}()
	if l == nil {
		return ajar.Errorf(ajar.NotFound, "%s is not listed", scope)
	}
	if l.Hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	size, n := l.Page, 0
	if size == 0 {
		size = 100
	}
	for part := range slices.Chunk(l.Found, size) {
		if l.Err != nil && n == l.Stop {
			return l.Err
		}
		if err := page(part); err != nil {
			return err
		}
		n++
	}
	return l.Err
}

// readListing reads what there is anew, if it stands in a file.
func (f *Firewall) readListing() error {
	if f.file == "" {
		return nil
	}
	b, err := os.ReadFile(f.file)
	if err != nil {
		return fmt.Errorf("read the listing: %w", err)
	}
	var all map[ajar.ID]*Listing
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("read the listing %s: %w", f.file, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listings = all
	return nil
}
