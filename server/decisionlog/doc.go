// Package decisionlog keeps a record of every decision without making a request
// wait for it.
//
// # Way of a record
//
//	Record ─ copies the decision into a bounded ring in memory
//	writer ─ encodes, masks and appends to segment files, each FlushInterval
//	shipper ─ reads segments and saves batches to the Store; deletes what is saved
//
// A kill -9 loses what the ring held: at most one FlushInterval. What is on
// disk waits there while the store is away, and is shipped by the next process
// if this one ends. Each process has a directory of its own below Options.Dir,
// held by a lock; the directories of processes that have died are adopted.
//
// # What is not kept
//
// Refusals are always kept. Allows are kept by Sample and by Rate, and so are,
// by Rate alone, requests without a known key, because strangers can make any
// number of them. When the ring or the disk is full records are dropped:
// Stats counts each under its cause, and the log says so once a minute.
//
// # Concurrency
//
// A Log is safe for concurrent use. Record takes one short lock and allocates
// nothing.
//
// # Imports
//
// The package imports engine and the packages below it, and must never import
// SQL, Fiber or OPA.
package decisionlog
