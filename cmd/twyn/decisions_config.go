package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twyn/twyn/server/client"
)

// decisionSettings are those of the decision log, and of the commands that ask
// a server about it.
func decisionSettings() []setting {
	return []setting{
		{"TWYN_DECISION_SAMPLE", "decision-sample", "1", "share of allowed requests whose decisions are kept, 0 to 1; refusals are always kept", func(c *config, v string) error { return readShare(&c.DecisionSample, v) }},
		{"TWYN_DECISION_RATE", "decision-rate", "1000", "most allowed requests in a second whose decisions are kept, and most requests without a known key, 0 to 1000000", func(c *config, v string) error { return readInt(&c.DecisionRate, v, 0, 1_000_000) }},
		{"TWYN_DECISION_FLUSH", "decision-flush", "200ms", "how often decisions are written to disk, which is what a crash can lose, 10ms to 1m", func(c *config, v string) error {
			return readDuration(&c.DecisionFlush, v, 10*time.Millisecond, time.Minute)
		}},
		{"TWYN_DECISION_DISK", "decision-disk", "256", "most MiB of decisions that wait on disk while the database is away, 1 to 1048576", func(c *config, v string) error { return readInt(&c.DecisionDisk, v, 1, 1<<20) }},
		{"TWYN_DECISION_RETENTION", "decision-retention", "720h", "how long decisions are kept, in whole days of UTC, 24h to 87600h", func(c *config, v string) error {
			return readDuration(&c.DecisionRetention, v, 24*time.Hour, 87_600*time.Hour)
		}},
		{"TWYN_URL", "url", "http://127.0.0.1:8000", "server that commands ask", func(c *config, v string) (err error) {
			c.URL, err = client.ParseURL(v)
			return err
		}},
		{"TWYN_API_KEY", "api-key", "", "API key that commands ask with; never printed", func(c *config, v string) error { return readAPIKey(&c.APIKey, v) }},
	}
}

func readShare(to *float64, v string) error {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1 {
		return fmt.Errorf("%q is not a number from 0 to 1", v)
	}
	*to = f
	return nil
}

// readAPIKey never repeats the value in its error. What a key looks like is the
// server's to say; here it only has to fit a header.
func readAPIKey(to *string, v string) error {
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("want printable ASCII without spaces")
	}
	*to = v
	return nil
}
