package decisionlog

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

func sample() engine.DecisionRecord {
	at := time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return engine.DecisionRecord{
		ID: "dec_01b8a4e2c0ae0123456789abcdef", At: at, TenantID: "ten_1", KeyID: "key_1", Environment: engine.Live, RequestID: "r",
		Method: "GET", Route: "/v1/keys", Path: "/v1/keys", ResourceType: "key", ResourceID: "k", ResourceOwner: "ten_2",
		Effect: engine.Deny, Reasons: []engine.Reason{{Code: "a", Message: "A"}, {Code: "b", Message: "ü\x00"}}, Revision: "rev",
		Limits: []quota.Verdict{
			{Name: "key", Limit: 1 << 60, Window: time.Hour, Admitted: true, Remaining: 5, Reset: at, RetryAfter: -1},
			{Name: "day", Reset: at},
		},
		PluginDigest: "p", Duration: 42 * time.Microsecond, Input: []byte(`{"a":1}`), Masked: []string{"/input/x"}, Omitted: "o",
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	want := sample()
	b := appendFrame(nil, &want)
	whole := len(b)
	plain := engine.DecisionRecord{ID: want.ID, At: want.At}
	b = appendFrame(b, &plain)
	got, rest, err := readFrame(b)
	if err != nil || !reflect.DeepEqual(got, want) || len(rest) != len(b)-whole {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if got, rest, err = readFrame(rest); err != nil || !reflect.DeepEqual(got, plain) || len(rest) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range whole {
		if _, _, err := readFrame(b[:i]); err == nil {
			t.Fatalf("the first %d of %d bytes pass for a frame", i, whole)
		}
		flipped := append([]byte(nil), b[:whole]...)
		flipped[i] ^= 0x20
		if got, _, err := readFrame(flipped); err == nil {
			t.Fatalf("a flipped byte at %d was not noticed: %+v", i, got)
		}
	}
}

// FuzzSegment reads whatever is in a segment: it neither panics nor takes more
// memory than the segment has bytes for, and what it reads it writes again.
func FuzzSegment(f *testing.F) {
	one := sample()
	good := appendFrame([]byte(magic), &one)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(append([]byte(nil), good...), "\xff\xff\xff\xff\x00\x00\x00\x00"...))
	f.Add([]byte(magic))
	f.Add([]byte("something else"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "00000000.seg")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		rest, err := readSegment(path, 0, int64(len(b))+10)
		if err != nil {
			t.Fatal(err)
		}
		for len(rest) > 0 {
			record, after, err := readFrame(rest)
			if err != nil {
				return
			}
			again, _, err := readFrame(appendFrame(nil, &record))
			if err != nil || !reflect.DeepEqual(again, record) {
				t.Fatalf("read %+v, then %+v, %v", record, again, err)
			}
			rest = after
		}
	})
}

// FuzzPayload is FuzzSegment behind the checksum.
func FuzzPayload(f *testing.F) {
	one := sample()
	f.Add(appendRecord(nil, &one))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var record engine.DecisionRecord
		d := decoder{b: b}
		d.record(&record)
	})
}

func TestBudget(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_900_000_000, 0)
	b := budget{rate: 2}
	admitted := func(second int) (n int) {
		for range 5 {
			if b.admit(at.Add(time.Duration(second) * time.Second)) {
				n++
			}
		}
		return n
	}
	for i, step := range []struct{ second, want int }{
		{0, 2}, {0, 0}, {1, 2}, {0, 0}, {1, 0}, {5, 2}, {-100, 2}, {-100, 0},
	} {
		if got := admitted(step.second); got != step.want {
			t.Errorf("step %d: %d admitted in second %d; want %d", i, got, step.second, step.want)
		}
	}
}
