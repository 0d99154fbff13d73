package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/server/client"
)

const key = "twyn_live_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL+"/", key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		const want = "/v1/decisions?before=dec_1&effect=deny&key=key_1&limit=3&reason=a+b&since=2025-11-24T01%3A00%3A00Z&tenant=ten_1&until=2025-11-24T02%3A00%3A00Z"
		if r.RequestURI != want || r.Header["X-Api-Key"][0] != key {
			t.Errorf("asked %s", r.RequestURI)
		}
		_, _ = w.Write([]byte(`{"items":[{"id":"dec_2","at":"2025-11-24T01:00:00Z"}],"next":"dec_2"}`))
	})
	at := time.Date(2025, 11, 24, 1, 0, 0, 0, time.UTC)
	list, err := c.Decisions(t.Context(), client.DecisionFilter{
		Tenant: "ten_1", Key: "key_1", Effect: "deny", Reason: "a b", Before: "dec_1", Since: at, Until: at.Add(time.Hour), Limit: 3,
	})
	if err != nil || len(list.Items) != 1 || *list.Next != "dec_2" || !time.Time(list.Items[0].At).Equal(at) {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for want, answer := range map[string]struct {
		status int
		body   string
	}{
		"Access denied: no (403), decision dec_1": {403, `{"detail":"Access denied: no"}`},
		"Rate limit exceeded. (429)":              {429, `{"error":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded."}`},
		`[{"loc":["query"]}] (422)`:               {422, `{"detail":[{"loc":["query"]}]}`},
		"Bad Gateway (502)":                       {502, "<html>"},
		"Found (302)":                             {302, ""},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/decisions/a/b" || r.URL.RawPath != "/v1/decisions/a%2Fb" {
				t.Errorf("asked %s", r.RequestURI)
			}
			w.Header().Set("X-Decision-Id", "dec_1")
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(answer.status)
			_, _ = w.Write([]byte(answer.body))
		})
		_, err := c.Decision(t.Context(), "a/b")
		var said *client.Error
		if !errors.As(err, &said) || err.Error() != want || strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c, err := client.New("http://127.0.0.1:1", key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decision(t.Context(), "x"); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	if got, err := client.ParseURL("https://api.example.com/twyn/"); err != nil || got != "https://api.example.com/twyn" {
		t.Errorf("got %s, %v", got, err)
	}
	for _, wrong := range []string{"", "api.example.com", "ftp://x", "http://", "http://user:hunter2@x", "http://x?a=hunter2", "http://x#a", "http://[hunter2"} {
		if _, err := client.ParseURL(wrong); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", wrong, err)
		}
	}
}
