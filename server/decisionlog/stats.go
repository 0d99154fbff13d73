package decisionlog

import "sync/atomic"

// Stats counts what became of the decisions since the log was opened.
type Stats struct {
	Written int64 // to disk
	Shipped int64 // to the store, adopted ones included

	// Records that were left out on purpose.
	SampledOut int64 // allows, by Sample
	OverRate   int64 // allows and requests of nobody, by Rate

	// Records that were lost. Any of these is worth an alarm.
	RingFull int64 // more came within a flush interval than the ring holds
	DiskFull int64 // the segments have reached DiskBytes, or could not be written
	Refused  int64 // the store says that it will never take them
	Torn     int64 // ends of segments that could not be read, one each

	MaskFailed int64 // records that lost their input to a failing mask

	DiskBytes int64 // now waiting on disk
	Away      bool  // the store failed the last time it was asked
}

// Lost is how many records were lost.
func (s *Stats) Lost() int64 { return s.RingFull + s.DiskFull + s.Refused + s.Torn }

// counters are the Stats as they are counted.
type counters struct {
	written, shipped, sampledOut, overRate, ringFull, diskFull, refused, torn, maskFailed, diskBytes atomic.Int64

	away atomic.Bool
}

// Stats returns the counts so far.
func (l *Log) Stats() Stats {
	c := &l.counters
	return Stats{
		Written: c.written.Load(), Shipped: c.shipped.Load(), SampledOut: c.sampledOut.Load(), OverRate: c.overRate.Load(),
		RingFull: c.ringFull.Load(), DiskFull: c.diskFull.Load(), Refused: c.refused.Load(), Torn: c.torn.Load(),
		MaskFailed: c.maskFailed.Load(), DiskBytes: c.diskBytes.Load(), Away: c.away.Load(),
	}
}
