package policies

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/twyn/twyn/engine"
)

// Activate makes a revision live. It is checked against the data documents that
// are live: what does not compile with them is a *engine.PolicyRefusedError.
func (d *Desk) Activate(ctx context.Context, id, by string, at time.Time) (engine.LivePolicy, error) {
	return d.change(ctx, by, at, func(live engine.LivePolicy) (engine.LivePolicy, *engine.PolicyData, error) {
		if live.Revision != id {
			live.Revision, live.Previous = id, live.Revision
		}
		return live, nil, nil
	})
}

// Rollback makes the previous revision live again, in place of the revision
// from, or of whatever is live if from is "". A second rollback undoes the
// first.
func (d *Desk) Rollback(ctx context.Context, from, by string, at time.Time) (engine.LivePolicy, error) {
	return d.change(ctx, by, at, func(live engine.LivePolicy) (engine.LivePolicy, *engine.PolicyData, error) {
		switch {
		case from != "" && from != live.Revision:
			return live, nil, engine.ErrNotLive
		case live.Previous == live.Revision:
			return live, nil, engine.ErrNoPrevious
		}
		live.Revision, live.Previous = live.Previous, live.Revision
		return live, nil, nil
	})
}

// change takes what is live to something else: in the store, which tells the
// other processes, and then in this one. Nothing is written before the new set
// has compiled.
func (d *Desk) change(
	ctx context.Context, by string, at time.Time,
	to func(engine.LivePolicy) (engine.LivePolicy, *engine.PolicyData, error),
) (engine.LivePolicy, error) {
	if err := d.unpinned(); err != nil {
		return engine.LivePolicy{}, err
	}
	for attempt := 1; ; attempt++ {
		live, err := d.tryChange(ctx, by, at, to)
		if !errors.Is(err, engine.ErrConflict) || attempt == attempts {
			return live, err
		}
	}
}

func (d *Desk) tryChange(
	ctx context.Context, by string, at time.Time,
	to func(engine.LivePolicy) (engine.LivePolicy, *engine.PolicyData, error),
) (engine.LivePolicy, error) {
	now, err := d.store.LivePolicy(ctx)
	if err != nil {
		return engine.LivePolicy{}, err
	}
	next, data, err := to(now)
	if err != nil {
		return engine.LivePolicy{}, err
	}
	next.Generation, next.ChangedAt, next.ChangedBy = now.Generation+1, at, by
	var set *Set
	if data != nil {
		set, err = d.loadWith(ctx, next.Revision, *data)
	} else {
		set, err = d.load(ctx, next.Revision, next.DataVersion)
	}
	if err != nil {
		return engine.LivePolicy{}, refusal(err)
	}
	if err := d.store.ChangeLivePolicy(ctx, next, data); err != nil {
		return engine.LivePolicy{}, err
	}
	d.apply(ctx, set, next.Generation)
	return next, nil
}

// Take makes the policies of a bundle live, in this process alone: every
// process asks the bundle server itself. A bundle that is not good changes
// nothing.
func (d *Desk) Take(ctx context.Context, content []byte) error {
	files, err := ReadBundle(bytes.NewReader(content), d.key)
	if err != nil {
		return err
	}
	options := d.options
	options.Root = ""
	report, set, err := Check(ctx, files, nil, options)
	if err != nil {
		return err
	}
	if !report.Good() {
		return &engine.PolicyRefusedError{Report: *report}
	}
	if former := d.live.Live(); former.Revision() != set.Revision() {
		d.live.Swap(set)
		d.logger.InfoContext(ctx, "policies changed", slog.String("revision", set.Revision()), slog.String("former_revision", former.Revision()))
	}
	return nil
}
