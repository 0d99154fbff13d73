package quota

import (
	"encoding/binary"
	"testing"
	"time"
)

// scenario reads a limit and claims from a fuzzer's bytes.
func scenario(a Algorithm, data []byte) (Limit, []step) {
	next := func(n int) uint64 {
		var b [8]byte
		data = data[copy(b[:n], data):]
		return binary.LittleEndian.Uint64(b[:])
	}
	l := Limit{
		Name: "key", Algorithm: a, Limit: 1 + int64(next(4))%MaxLimit,
		Window: MinWindow + time.Duration(next(7)%uint64(MaxWindow-MinWindow+1)),
	}
	if a == TokenBucket {
		l.Burst = int64(next(4)) % (MaxLimit + 1)
	}
	var steps []step
	for len(data) > 0 && len(steps) < 100 {
		// A wait in units of a 1024th of the window, some nanoseconds more
		// or less; up to 5 of them back.
		wait := int64(l.Window)/1024*max(-5, int64(int16(next(2)))) + int64(int8(next(1)))
		steps = append(steps, step{wait, int64(next(4))})
	}
	return l, steps
}

func fuzzAlgorithm(f *testing.F, a Algorithm) {
	f.Helper()
	f.Add([]byte{})
	f.Add([]byte("\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\x00\x02\x00\x00\x00\x00\x04\x01\x01\x00\x00\x00\x00\x04\xff\x01\x00\x00\x00"))
	f.Add([]byte("\xff\xc9\x9a\x3b\x01\x02\x03\x04\x05\x06\x07\x08\x09\x00\x00\xff\xff\x7f\xff\xff\xff\x7f\x80\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, steps := scenario(a, data)
		play(t, l, steps)
	})
}

func FuzzFixedWindow(f *testing.F)   { fuzzAlgorithm(f, FixedWindow) }
func FuzzSlidingWindow(f *testing.F) { fuzzAlgorithm(f, SlidingWindow) }
func FuzzTokenBucket(f *testing.F)   { fuzzAlgorithm(f, TokenBucket) }

// FuzzDecodeState reads any bytes as a state: it is an error, or one form of a
// counter that can be used.
func FuzzDecodeState(f *testing.F) {
	for i := range algorithms {
		a := &algorithms[i]
		l := Limit{Name: "key", Algorithm: a.name, Limit: 100, Window: time.Hour}
		c := a.open()
		f.Add(i, int64(time.Hour), encodeState(a, c))
		for j := range int64(5) {
			c.take(&l, 1+j, modelStart+j*int64(7*time.Minute))
			f.Add(i, int64(time.Hour), encodeState(a, c))
		}
		f.Add(i, int64(MaxWindow)+1, encodeState(a, c))
		f.Add(i, int64(time.Second), append(encodeState(a, c), 0))
	}
	f.Add(0, int64(time.Hour), []byte{1, 1, 0x80, 0x00, 5})
	f.Add(1, int64(time.Hour), []byte{1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 63})
	f.Add(2, int64(time.Second), []byte{1, 3, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1})
	f.Fuzz(func(t *testing.T, algorithm int, window int64, state []byte) {
		a := &algorithms[uint(algorithm)%uint(len(algorithms))]
		id := CounterID{Name: "key", Algorithm: a.name, Window: time.Duration(window)}
		c, err := decodeState(&id, state)
		if err != nil {
			return
		}
		if again := encodeState(a, c); string(again) != string(state) {
			t.Fatalf("%x decodes to %+v and encodes to %x", state, c, again)
		}
		l := Limit{Name: "key", Algorithm: a.name, Limit: 10, Window: id.Window}
		for _, now := range []int64{0, modelStart, maxSeconds * int64(time.Second)} {
			remaining, reset := c.report(&l, now)
			if remaining < 0 || remaining > 10 || reset < 0 {
				t.Fatalf("%+v: %d remaining, reset at %d", c, remaining, reset)
			}
			opens := c.opens(&l, 1, now)
			if opens < now {
				t.Fatalf("%+v: opens at %d, before %d", c, opens, now)
			}
			if ahead, _ := c.ahead(&l, 1, now); !ahead.covers(c, &l, now) {
				t.Fatalf("%+v does not cover %+v", ahead, c)
			}
		}
	})
}
