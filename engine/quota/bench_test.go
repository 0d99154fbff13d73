package quota

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// nowhere is a store that keeps nothing and costs nothing.
type nowhere struct{}

func (nowhere) LoadCounters(context.Context, []CounterID) ([]Record, error) { return nil, nil }
func (nowhere) SaveCounters(context.Context, []Record) error                { return nil }

func benchLedgers(b *testing.B, run func(b *testing.B, l Ledger, a Algorithm)) {
	b.Helper()
	for i := range algorithms {
		a := algorithms[i].name
		b.Run("memory/"+string(a), func(b *testing.B) {
			b.ReportAllocs()
			run(b, newMemory(b, 4<<20), a)
		})
		b.Run("durable/"+string(a), func(b *testing.B) {
			b.ReportAllocs()
			d, err := NewDurable(nowhere{}, Options{MaxCounters: 4 << 20})
			if err != nil {
				b.Fatal(err)
			}
			run(b, d, a)
			_ = d.Close(b.Context())
		})
	}
}

func BenchmarkReserve(b *testing.B) {
	benchLedgers(b, func(b *testing.B, l Ledger, a Algorithm) {
		b.Helper()
		claims, verdicts := []Claim{testClaim(a, "key_abcdefghijklmnopqrstuvwx", MaxLimit)}, make([]Verdict, 1)
		ctx, at := b.Context(), testStart
		for b.Loop() {
			at = at.Add(50)
			if ok, err := l.Reserve(ctx, at, claims, verdicts); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkReserveRefused(b *testing.B) {
	benchLedgers(b, func(b *testing.B, l Ledger, a Algorithm) {
		b.Helper()
		claims, verdicts := []Claim{testClaim(a, "key_abcdefghijklmnopqrstuvwx", 1)}, make([]Verdict, 1)
		_, _ = l.Reserve(b.Context(), testStart, claims, verdicts)
		ctx, at := b.Context(), testStart
		for b.Loop() {
			if _, err := l.Reserve(ctx, at, claims, verdicts); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReserveThree(b *testing.B) {
	benchLedgers(b, func(b *testing.B, l Ledger, a Algorithm) {
		b.Helper()
		var claims [3]Claim
		var verdicts [3]Verdict
		for i := range claims {
			claims[i] = testClaim(a, fmt.Sprint("key_abcdefghijklmnopqrstuvwx", i), MaxLimit)
		}
		ctx, at := b.Context(), testStart
		for b.Loop() {
			at = at.Add(50)
			if ok, err := l.Reserve(ctx, at, claims[:], verdicts[:]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkPeek(b *testing.B) {
	benchLedgers(b, func(b *testing.B, l Ledger, a Algorithm) {
		b.Helper()
		claims, verdicts := []Claim{testClaim(a, "key_abcdefghijklmnopqrstuvwx", 1000)}, make([]Verdict, 1)
		_, _ = l.Reserve(b.Context(), testStart, claims, verdicts)
		ctx := b.Context()
		for b.Loop() {
			if err := l.Peek(ctx, testStart, claims, verdicts); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReserveParallel(b *testing.B) {
	benchLedgers(b, func(b *testing.B, l Ledger, a Algorithm) {
		b.Helper()
		b.RunParallel(func(pb *testing.PB) {
			claims, verdicts := []Claim{testClaim(a, "key_abcdefghijklmnopqrstuvwx", MaxLimit)}, make([]Verdict, 1)
			for ctx := b.Context(); pb.Next(); {
				if ok, err := l.Reserve(ctx, testStart, claims, verdicts); !ok || err != nil {
					b.Error(ok, err)
				}
			}
		})
	})
}

// BenchmarkReserveMillion draws from a million counters evenly, so that hardly
// any is in the processor's caches.
func BenchmarkReserveMillion(b *testing.B) {
	const counters = 1 << 20
	claims := make([]Claim, counters)
	m := newMemory(b, 4<<20)
	verdicts := make([]Verdict, 1)
	for i := range claims {
		claims[i] = testClaim(FixedWindow, fmt.Sprintf("key_%024d", i), MaxLimit)
		if ok, err := m.Reserve(b.Context(), testStart, claims[i:i+1], verdicts); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
	random := uint32(1)
	b.ReportAllocs()
	for ctx := b.Context(); b.Loop(); {
		random = random*1664525 + 1013904223
		i := random >> 12
		if ok, err := m.Reserve(ctx, testStart.Add(time.Second), claims[i:i+1], verdicts); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
