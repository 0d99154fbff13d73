package bundles_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twyn/twyn/server/bundles"
)

// shelf serves one bundle with an ETag.
type shelf struct {
	content atomic.Pointer[string]
	status  atomic.Int64
	sent    atomic.Int64 // bundles sent in full
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := s.status.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	content := *s.content.Load()
	etag := `"` + content[:1] + `"`
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	s.sent.Add(1)
	w.Header().Set("ETag", etag)
	_, _ = w.Write([]byte(content))
}

func (s *shelf) put(content string) { s.content.Store(&content) }

func TestPoll(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	s.put("one")
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	source := &bundles.Source{URL: server.URL, Client: server.Client()}
	var taken []string
	take := func(_ context.Context, content []byte) error {
		if strings.HasPrefix(string(content), "bad") {
			return errors.New("no good")
		}
		taken = append(taken, string(content))
		return nil
	}
	look := func(times int) {
		ticks := make(chan time.Time, times)
		for range times {
			ticks <- time.Time{}
		}
		close(ticks)
		source.Poll(t.Context(), ticks, take, logger)
	}
	look(3)
	s.put("bad")
	look(3)
	s.status.Store(http.StatusBadGateway)
	look(2)
	s.status.Store(0)
	s.put("two")
	look(2)
	s.put(strings.Repeat("x", bundles.MaxBytes+1))
	look(1)
	if got := strings.Join(taken, " "); got != "one two" || s.sent.Load() != 4 {
		t.Errorf("took %q, %d sent", got, s.sent.Load())
	}
	for _, want := range []string{"no good", "502", "more than"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("want %q once in the log:\n%s", want, log.String())
		}
	}
	server.Close()
	look(1)
	if !strings.Contains(log.String(), "asking for a bundle") {
		t.Error("a server that is gone is not in the log")
	}
}
