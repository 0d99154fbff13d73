package private

import (
	"strings"
	"testing"
)

const runningPID = "4242\n/data\n1700000000\n5432\n/run/twyn\n\n  5432001    32768\nready   \n"

func TestParsePostmaster(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want postmaster
	}{
		"ready":            {runningPID, postmaster{4242, "/run/twyn", true}},
		"starting":         {strings.Replace(runningPID, "ready   ", "starting", 1), postmaster{4242, "/run/twyn", false}},
		"stopping":         {strings.Replace(runningPID, "ready   ", "stopping", 1), postmaster{4242, "/run/twyn", false}},
		"no status yet":    {"4242\n/data\n1700000000\n5432\n/run/twyn\n", postmaster{4242, "/run/twyn", false}},
		"no socket yet":    {"4242\n/data\n1700000000\n", postmaster{}},
		"empty":            {"", postmaster{}},
		"single-user mode": {strings.Replace(runningPID, "4242", "-4242", 1), postmaster{}},
		"every process":    {strings.Replace(runningPID, "4242", "-1", 1), postmaster{}},
		"no number":        {strings.Replace(runningPID, "4242", "x", 1), postmaster{}},
	} {
		if got := parsePostmaster(test.text); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func FuzzParsePostmaster(f *testing.F) {
	f.Add(runningPID)
	f.Add("1\n\n\n\n\n")
	f.Add("99999999999999999999\n\n\n\n/x\n\n\nready")
	f.Fuzz(func(t *testing.T, text string) {
		pm := parsePostmaster(text)
		if pm != (postmaster{}) && pm.pid <= 1 {
			t.Errorf("a signal to process %d would reach others", pm.pid)
		}
		if pm.ready && pm.pid == 0 {
			t.Error("ready without a process")
		}
	})
}

// TestScramVerifier uses the example of RFC 7677, section 3: with these, the
// client proof and the server signature printed there come out.
func TestScramVerifier(t *testing.T) {
	t.Parallel()
	salt := []byte{0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81}
	got, err := scramVerifier("pencil", salt)
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
