// Package bundles asks a server for an OPA bundle, again and again, as OPA's own
// bundle plugin does: with the ETag of the last one, so that a bundle travels
// only when it has changed.
//
// It knows nothing of what is in a bundle: whoever is handed one reads it,
// verifies its signature and decides whether to take it. It must never import
// policies or the engine.
package bundles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// MaxBytes is how large a bundle may be.
const MaxBytes = 16 << 20

// timeout is how long one request may take.
const timeout = 30 * time.Second

// ErrUnchanged means that the bundle is the one that was fetched before.
var ErrUnchanged = errors.New("bundle unchanged")

// Source is a bundle on a server. Its zero value with a URL is ready to use, by
// one goroutine.
type Source struct {
	// URL is where the bundle is.
	URL string
	// Client makes the requests; nil: http.DefaultClient.
	Client *http.Client

	etag    string
	failure string // what was logged last
}

// Fetch returns the bundle, or ErrUnchanged.
func (s *Source) Fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for a bundle: %w", err)
	}
	if s.etag != "" {
		request.Header.Set("If-None-Match", s.etag)
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for a bundle: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, ErrUnchanged
	default:
		return nil, fmt.Errorf("asking for a bundle: the server answers %s", response.Status)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading a bundle: %w", err)
	}
	if len(content) > MaxBytes {
		return nil, fmt.Errorf("reading a bundle: more than %d bytes", MaxBytes)
	}
	s.etag = response.Header.Get("ETag")
	return content, nil
}

// Poll fetches the bundle at each tick, until ctx ends or ticks is closed, and
// hands it to take if it has changed. What cannot be fetched, and what take does
// not take, is logged once; the bundle is not tried again before it changes.
func (s *Source) Poll(ctx context.Context, ticks <-chan time.Time, take func(context.Context, []byte) error, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-ticks:
			if !ok {
				return
			}
			s.Once(ctx, take, logger)
		}
	}
}

// Once is what Poll does at one tick.
func (s *Source) Once(ctx context.Context, take func(context.Context, []byte) error, logger *slog.Logger) {
	content, err := s.Fetch(ctx)
	if errors.Is(err, ErrUnchanged) || ctx.Err() != nil {
		return
	}
	if err == nil {
		err = take(ctx, content)
	}
	switch {
	case err == nil:
		s.failure = ""
	case err.Error() != s.failure:
		s.failure = err.Error()
		logger.ErrorContext(ctx, "bundle refused, the former policies stay", slog.Any("error", err))
	}
}
