package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/twyn/twyn/engine"
)

// shipper brings segments to the store. It is one goroutine's own.
type shipper struct {
	log     *Log
	spools  []*spool // the oldest first, this process's own last
	backoff time.Duration
	batch   []engine.DecisionRecord
}

// run ships until the writer has ended, and then what is left, once.
func (s *shipper) run() {
	l := s.log
	defer close(l.ended)
	retry, adoption := time.NewTimer(0), time.NewTicker(adoptInterval)
	defer retry.Stop()
	defer adoption.Stop()
	for {
		select {
		case done := <-l.ships:
			done <- s.try(retry)
		case <-l.ship:
			if s.backoff == 0 {
				_ = s.try(retry) // counted and told of
			}
		case <-retry.C:
			_ = s.try(retry)
		case <-adoption.C:
			s.spools = append(l.adopt(), s.spools...)
			signal(l.ship)
		case <-l.written:
			_ = s.try(retry)
			s.close()
			return
		}
	}
}

// try ships everything on disk. If the store is away it is asked again later.
func (s *shipper) try(retry *time.Timer) error {
	err := s.once(s.log.closing)
	was := s.log.counters.away.Swap(err != nil)
	if err != nil {
		s.wait(retry)
		if !was {
			s.log.options.Logger.Warn("decisions wait on disk: the store is away", "error", err)
		}
		return err
	}
	s.backoff = 0
	if was {
		s.log.options.Logger.Info("decisions are shipped again")
	}
	return nil
}

// wait sets the time of the next try: longer each time, and not the same for
// every replica.
func (s *shipper) wait(retry *time.Timer) {
	s.backoff = min(max(2*s.backoff, leastBackoff), mostBackoff)
	retry.Reset(s.backoff/2 + rand.N(s.backoff/2)) //nolint:gosec // Spreads load; guards nothing.
}

// close gives the directories back.
func (s *shipper) close() {
	for _, p := range s.spools {
		if err := p.close(); err != nil {
			s.log.options.Logger.Warn("decisions not closed", "error", err)
		}
	}
}

// once ships everything on disk, or fails with the store.
func (s *shipper) once(ctx context.Context) error {
	for len(s.spools) > 0 {
		p := s.spools[0]
		g, size := p.oldest()
		if g == nil {
			if p == s.log.own {
				return nil
			}
			if err := p.close(); err != nil {
				s.log.options.Logger.Warn("left decisions not closed", "error", err)
			}
			s.spools = s.spools[1:]
			continue
		}
		if err := s.segment(ctx, p, g, size); err != nil {
			return err
		}
	}
	return nil
}

// segment ships what a segment holds up to size and deletes it if that is all.
func (s *shipper) segment(ctx context.Context, p *spool, g *segment, size int64) error {
	rest, err := readSegment(g.path, g.read, size)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if g.read == 0 {
		if len(rest) < len(magic) || string(rest[:len(magic)]) != magic {
			s.torn(g, len(rest))
			rest = nil
		} else {
			rest = rest[len(magic):]
		}
	}
	for len(rest) > 0 {
		taken := rest
		s.batch = s.batch[:0]
		bad := false
		for len(rest) > 0 && len(s.batch) < BatchRecords && len(taken)-len(rest) < BatchBytes {
			record, after, err := readFrame(rest)
			if err != nil {
				bad = true
				break
			}
			s.batch, rest = append(s.batch, record), after
		}
		if err := s.save(ctx, s.batch); err != nil {
			return err
		}
		g.read = size - int64(len(rest))
		if bad {
			s.torn(g, len(rest))
			break
		}
	}
	g.read = size
	freed, err := p.finish(g)
	s.log.counters.diskBytes.Add(-freed)
	if err != nil {
		s.log.options.Logger.Warn("segment not deleted", "error", err)
	}
	return nil
}

// torn counts the end of a segment that cannot be read.
func (s *shipper) torn(g *segment, bytes int) {
	s.log.counters.torn.Add(1)
	s.log.options.Logger.Warn("the end of a segment cannot be read", "segment", g.path, "bytes", bytes)
}

// readSegment reads a part of a file.
func readSegment(path string, from, to int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // Below the user's own data directory.
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, to-from)
	n, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading a segment: %w", err)
	}
	return b[:n], nil
}

// save saves a batch. What the store will never take is looked for by halves
// and given up, so that one record does not hold up all others.
func (s *shipper) save(ctx context.Context, batch []engine.DecisionRecord) error {
	if len(batch) == 0 {
		return nil
	}
	saving, cancel := context.WithTimeout(ctx, saveTimeout)
	err := s.log.options.Store.SaveDecisions(saving, batch)
	cancel()
	switch {
	case err == nil:
		s.log.counters.shipped.Add(int64(len(batch)))
		return nil
	case !errors.Is(err, engine.ErrRecordRefused):
		return err
	case len(batch) > 1:
		if err := s.save(ctx, batch[:len(batch)/2]); err != nil {
			return err
		}
		return s.save(ctx, batch[len(batch)/2:])
	default:
		s.log.counters.refused.Add(1)
		s.log.options.Logger.Warn("the store refuses a decision", "decision_id", batch[0].ID, "error", err)
		return nil
	}
}
