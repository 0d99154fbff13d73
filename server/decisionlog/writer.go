package decisionlog

import (
	"errors"
	"time"

	"github.com/twyn/twyn/engine"
)

// writer turns entries into frames on disk. It is one goroutine's own.
type writer struct {
	log     *Log
	builder builder
	frames  []byte

	alarmed time.Time // when the log last told of lost records
	told    int64     // how many it has told of
}

// drain writes everything in the ring to disk. Its error is the disk's.
func (w *writer) drain() error {
	l := w.log
	entries := l.ring.take()
	var errs []error
	var pending int64 // frames not written yet
	flush := func() {
		if pending == 0 {
			return
		}
		grown, err := l.own.append(w.frames, l.segment)
		l.counters.diskBytes.Add(grown)
		if err != nil {
			errs = append(errs, err)
			l.counters.diskFull.Add(pending)
		} else {
			l.counters.written.Add(pending)
		}
		w.frames, pending = w.frames[:0], 0
	}
	for i := range entries {
		record, failed := w.builder.record(&entries[i])
		if failed != nil {
			l.counters.maskFailed.Add(1)
		}
		before := len(w.frames)
		w.frames = appendFrame(w.frames, &record)
		if !w.room(record.Effect) {
			w.frames = w.frames[:before]
			l.counters.diskFull.Add(1)
			continue
		}
		pending++
		if int64(len(w.frames)) >= l.segment {
			flush()
		}
	}
	flush()
	l.ring.done(entries)
	if len(entries) > 0 {
		signal(l.ship)
	}
	err := errors.Join(errs...)
	w.alarm(err)
	return err
}

// room reports whether the frames fit the disk. The last eighth is for
// refusals.
func (w *writer) room(effect engine.Effect) bool {
	most := w.log.options.DiskBytes
	if effect == engine.Allow {
		most -= most / 8
	}
	return w.log.counters.diskBytes.Load()+int64(len(w.frames)+len(magic)) <= most
}

// alarm tells of lost records, once a minute.
func (w *writer) alarm(err error) {
	stats := w.log.Stats()
	now := w.log.options.Clock.Now()
	if lost := stats.Lost() + stats.MaskFailed; lost > w.told && (w.alarmed.IsZero() || now.Sub(w.alarmed) >= alarmInterval) {
		w.alarmed, w.told = now, lost
		w.log.options.Logger.Error("decisions lost", "ring_full", stats.RingFull, "disk_full", stats.DiskFull,
			"refused", stats.Refused, "torn", stats.Torn, "mask_failed", stats.MaskFailed, "error", err)
	}
}
