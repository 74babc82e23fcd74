// Package scale fills a database with years of use and measures what is read from it: every list of the broker's verbs,
// what the loop asks for, start, backup and the check of the log. What grows with the table rather than with the answer
// is a fault. It writes documents as they are, past the broker, and knows nothing of what decided them.
package scale
