package decisionlog_test

import (
	"context"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/decisionlog"
)

// discard is a store that is always there.
type discard struct{}

func (discard) SaveDecisions(context.Context, []engine.DecisionRecord) error { return nil }

// BenchmarkRecord is what a request pays for its record: "kept" is a refusal,
// "over_rate" an allow beyond what a second keeps.
func BenchmarkRecord(b *testing.B) {
	for _, c := range []struct {
		name   string
		effect engine.Effect
		rate   int
	}{{"kept", engine.Deny, 1000}, {"over_rate", engine.Allow, 0}} {
		b.Run(c.name, func(b *testing.B) {
			l := open(b, b.TempDir(), discard{}, func(o *decisionlog.Options) {
				o.Rate, o.RingEntries, o.FlushInterval = c.rate, 1<<16, 50*time.Millisecond
			})
			r, d := decided(c.effect, start)
			b.ReportAllocs()
			for b.Loop() {
				l.Record(b.Context(), r, d)
			}
		})
	}
}

// BenchmarkDecide is a whole decision with the log off and on, with as little
// around it as there can be: no policy language, no HTTP.
func BenchmarkDecide(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			cfg := engine.Config{Keys: everyone{}, Resources: everyone{}, Policy: everyone{}, Ledger: everyone{}, NewID: engine.NewDecisionID}
			if on {
				cfg.Recorders = []engine.Recorder{open(b, b.TempDir(), discard{}, func(o *decisionlog.Options) {
					o.Rate, o.FlushInterval = decisionlog.DefaultRate, decisionlog.DefaultFlushInterval
				})}
			}
			e, err := engine.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			r, _ := decided(engine.Allow, start)
			r.Target.ID = ""
			b.ReportAllocs()
			for b.Loop() {
				r.At = clock.System{}.Now()
				if d, err := e.Decide(b.Context(), r); err != nil || d.Effect != engine.Allow {
					b.Fatal(d, err)
				}
			}
		})
	}
}

// everyone knows every key and allows everything.
type everyone struct{}

func (everyone) FindKey(_ context.Context, digest engine.Digest) (*engine.Identity, error) {
	_, d := decided(engine.Allow, start)
	d.Principal.Key.Active, d.Principal.Tenant.Active = true, true
	return &engine.Identity{Principal: *d.Principal, Digest: digest}, nil
}

func (everyone) FindResource(context.Context, engine.Target) (engine.Resource, error) {
	return engine.Resource{}, engine.ErrNotFound
}

func (everyone) Judge(context.Context, engine.Question) (engine.Judgement, error) {
	return engine.Judgement{Allow: true, Revision: "0123456789abcdef"}, nil
}

func (everyone) Reserve(_ context.Context, _ time.Time, _ []quota.Claim, verdicts []quota.Verdict) (bool, error) {
	for i := range verdicts {
		verdicts[i] = quota.Verdict{Name: "key", Limit: 10, Admitted: true}
	}
	return true, nil
}

func (everyone) Peek(context.Context, time.Time, []quota.Claim, []quota.Verdict) error { return nil }
