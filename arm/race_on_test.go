//go:build race

package arm

// thin is of how many callers the matrix has one call each row: the race detector makes SQLite ten times as slow, and
// finds what it finds in a part of the calls. Without it they are all made, by `make test` as well.
const thin = 8
