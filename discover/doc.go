// Package discover asks providers what there is: it runs the listings of each Finder, one at a time, and hands what they
// find to the gate, which alone changes anything. It does not know any cloud, nor what a machine is good for.
//
// Of each origin (a provider's scope) one replica lists at a time: it claims the listing in the store, for longer than a
// listing may take. What a listing has appears at once, page by page; only one that was whole to its end says what is
// missing.
package discover
