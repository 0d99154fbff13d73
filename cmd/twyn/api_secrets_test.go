package main_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// secrets knows every API key that this run has made or sent, and every log
// that its servers have written. The client adds what it sees; no test has to.
var secrets = &secretRegistry{known: make(map[string]string)}

// secretRegistry is safe for concurrent use.
type secretRegistry struct {
	mu sync.Mutex
	// known leads from each form in which a secret could leak (its random
	// part, its digest in hexadecimal and base64) to the name of that form.
	known map[string]string
	logs  []*serverLog
}

// apiKeyPattern finds API keys, and minSecret is how much of one is enough to
// call it a leak.
var apiKeyPattern = regexp.MustCompile(`twyn_(?:live|test)_([0-9a-f]{64})`)

// tokenPattern cuts a log into what could be a form of a secret: runs of the
// characters of hexadecimal and of both alphabets of base64.
var tokenPattern = regexp.MustCompile(`[0-9A-Za-z+/_-]{40,}`)

// add makes a secret known.
func (r *secretRegistry) add(key string) {
	sum := sha256.Sum256([]byte(key))
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := apiKeyPattern.FindStringSubmatch(key); m != nil {
		r.known[m[1]] = "the random part of an API key"
	} else {
		r.known[key] = "a credential that a client sent"
	}
	r.known[hex.EncodeToString(sum[:])] = "the digest of an API key in hexadecimal"
	r.known[base64.RawStdEncoding.EncodeToString(sum[:])] = "the digest of an API key in base64"
	r.known[base64.RawURLEncoding.EncodeToString(sum[:])] = "the digest of an API key in base64url"
}

// addAll makes every API key in a text known.
func (r *secretRegistry) addAll(text []byte) {
	for _, key := range apiKeyPattern.FindAll(text, -1) {
		r.add(string(key))
	}
}

// newLog returns a log that will be searched.
func (r *secretRegistry) newLog() *serverLog {
	l := new(serverLog)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, l)
	return l
}

// search looks for every known secret in one log. The error names what was
// found and the kind of line, never the secret.
func (r *secretRegistry) search(l *serverLog) error {
	text := l.text()
	if i := strings.Index(text, "twyn_live_"); i >= 0 {
		return errors.New("a log holds the beginning of a live API key")
	}
	if i := strings.Index(text, "twyn_test_"); i >= 0 {
		return errors.New("a log holds the beginning of a test API key")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, token := range tokenPattern.FindAllString(text, -1) {
		if form := r.leak(token); form != "" {
			return fmt.Errorf("a log holds %s", form)
		}
	}
	return nil
}

// leak names the form of a known secret in a token, "" if there is none.
// Every form is at least 43 characters long; the caller holds the lock.
func (r *secretRegistry) leak(token string) string {
	token = strings.TrimRight(token, "=")
	for _, length := range [...]int{43, 64} {
		for i := 0; i+length <= len(token); i++ {
			if form := r.known[token[i:i+length]]; form != "" {
				return form
			}
			if form := r.known[strings.ToLower(token[i:i+length])]; form != "" {
				return form
			}
		}
	}
	return ""
}

// searchAll looks through every log of the run.
func (r *secretRegistry) searchAll() error {
	r.mu.Lock()
	logs := r.logs
	r.mu.Unlock()
	var errs []error
	for _, l := range logs {
		errs = append(errs, r.search(l))
	}
	return errors.Join(errs...)
}

// serverLog is what one server has logged. It is safe for concurrent use.
type serverLog struct{ written lockedBuffer }

func (l *serverLog) add(line []byte) { _, _ = l.written.Write(line) }

func (l *serverLog) text() string { return l.written.String() }

// tail is the end of the log.
func (l *serverLog) tail() string {
	text := l.text()
	return text[max(0, len(text)-4000):]
}

// find returns the first of the words that the log holds.
func (l *serverLog) find(words ...string) string {
	text := l.text()
	for _, word := range words {
		if strings.Contains(text, word) {
			return word
		}
	}
	return ""
}

// TestSecretSearchFinds: the search that everything else relies on can fail.
func TestSecretSearchFinds(t *testing.T) {
	t.Parallel()
	key := "twyn_live_" + strings.Repeat("0123456789abcdef", 4)
	sum := sha256.Sum256([]byte(key))
	for name, line := range map[string]string{
		"key":       `{"msg":"x","header":"` + key + `"}`,
		"part":      "x=" + key[len("twyn_live_"):] + " y",
		"upper":     strings.ToUpper(key[len("twyn_live_"):]),
		"hex":       "digest=" + hex.EncodeToString(sum[:]),
		"bytea":     `\x` + hex.EncodeToString(sum[:]),
		"base64":    base64.StdEncoding.EncodeToString(sum[:]),
		"base64url": "k-" + base64.URLEncoding.EncodeToString(sum[:]),
	} {
		r := &secretRegistry{known: make(map[string]string)}
		r.addAll([]byte(key))
		l := r.newLog()
		l.add([]byte("nothing here\n" + line + "\n"))
		if r.searchAll() == nil {
			t.Errorf("%s: not found", name)
		}
	}
	r := &secretRegistry{known: make(map[string]string)}
	r.add(key)
	r.newLog().add([]byte(`{"key_id":"key_0123","revision":"` + strings.Repeat("a", 64) + `"}`))
	if err := r.searchAll(); err != nil {
		t.Errorf("found in a clean log: %v", err)
	}
}
