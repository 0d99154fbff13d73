package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// config is everything that can be set from outside. docs/configuration.md
// holds the same table for readers; a test holds the two together.
type config struct {
	Addr            string
	MetricsAddr     string // "": no metrics listener
	DatabaseURL     string // "": the private instance in DataDir
	OwnerURL        string // "": DatabaseURL
	DataDir         string
	Migrate         string // auto, true or false
	DatabaseConns   int
	LogFormat       string
	LogLevel        slog.Level
	PolicyDir       string // "": the embedded policies
	PolicyBundleURL string // "": no bundle server
	PolicyBundleKey string // what verifies bundles; "": they need no signature
	PolicyBundleAlg string
	PolicyBundleInt time.Duration
	PolicyHeaders   []string
	PolicyEval      string // compiled, interpreted or both
	PolicyTimeout   time.Duration
	PolicyMemo      int // 0: none
	MaxKeys         int
	MaxCounters     int
	FlushInterval   time.Duration
	ShutdownTimeout time.Duration

	DecisionSample    float64 // share of allows
	DecisionRate      int     // allows in a second
	DecisionFlush     time.Duration
	DecisionDisk      int // MiB
	DecisionRetention time.Duration

	URL    string // of a server, for commands that ask one
	APIKey string
}

// A setting is one row of the table: where the value comes from, what it is by
// default, and how it is read into a config.
type setting struct {
	env, flag, def, meaning string
	read                    func(c *config, value string) error
}

// settings lists every setting. A flag wins over its environment variable,
// which wins over the default; an empty variable is an unset one.
func settings() []setting {
	return append([]setting{
		{"TWYN_ADDR", "addr", "127.0.0.1:8000", "address the API listens on", func(c *config, v string) error { return readAddr(&c.Addr, v) }},
		{"TWYN_METRICS_ADDR", "metrics-addr", "127.0.0.1:9090", "address /metrics listens on; `off` for none", func(c *config, v string) error {
			if v == "off" {
				return nil
			}
			return readAddr(&c.MetricsAddr, v)
		}},
		{"DATABASE_URL", "database-url", "", "PostgreSQL to use; empty: a private instance in the data directory", func(c *config, v string) error { return readDatabaseURL(&c.DatabaseURL, v) }},
		{"TWYN_OWNER_DATABASE_URL", "owner-database-url", "", "the same database as the role that owns the tables, for migrations; empty: `DATABASE_URL`", func(c *config, v string) error { return readDatabaseURL(&c.OwnerURL, v) }},
		{"TWYN_DATABASE_CONNS", "database-conns", "20", "most connections to PostgreSQL, 2 to 1000", func(c *config, v string) error { return readInt(&c.DatabaseConns, v, 2, 1000) }},
		{"TWYN_MIGRATE", "migrate", "auto", "run pending migrations at start: `true`, `false`, or `auto`: only on the private instance", func(c *config, v string) error {
			return readOneOf(&c.Migrate, v, "auto", "true", "false")
		}},
		{"TWYN_DATA_DIR", "data-dir", ".twyn", "directory of the private PostgreSQL instance, and of decisions that wait to be stored", func(c *config, v string) error {
			dir, err := filepath.Abs(v)
			c.DataDir = dir
			return err
		}},
		{"TWYN_POLICY_DIR", "policy-dir", "", "directory of Rego files that say what is live, watched; empty: what operators made live, at first the embedded policies", func(c *config, v string) error {
			c.PolicyDir = v
			return readDir(v)
		}},
		{"TWYN_POLICY_BUNDLE_URL", "policy-bundle-url", "", "OPA bundle (.tar.gz) on an HTTP server that replaces the embedded policies, asked for again and again; empty: none", func(c *config, v string) error {
			return readBundleURL(&c.PolicyBundleURL, v)
		}},
		{"TWYN_POLICY_BUNDLE_KEY", "policy-bundle-key", "", "file with the public key (PEM) or secret that every bundle has to be signed with; empty: no signature is asked for", func(c *config, v string) error {
			return readFile(&c.PolicyBundleKey, v)
		}},
		{"TWYN_POLICY_BUNDLE_ALGORITHM", "policy-bundle-algorithm", "RS256", "algorithm of that key, as OPA names it", func(c *config, v string) error {
			return readOneOf(&c.PolicyBundleAlg, v, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512")
		}},
		{"TWYN_POLICY_BUNDLE_INTERVAL", "policy-bundle-interval", "30s", "how often the bundle is asked for, 1s to 24h", func(c *config, v string) error {
			return readDuration(&c.PolicyBundleInt, v, time.Second, 24*time.Hour)
		}},
		{"TWYN_POLICY_HEADERS", "policy-headers", "accept,content-type,user-agent", "request headers a policy may see, comma-separated; never `x-api-key`, `authorization` or `cookie`", func(c *config, v string) error { return readHeaders(&c.PolicyHeaders, v) }},
		{"TWYN_POLICY_EVAL", "policy-eval", "compiled", "what evaluates policies: `compiled`, `interpreted`, or `both`: compare the two, count and log differences, and answer with the interpreter's", func(c *config, v string) error {
			return readOneOf(&c.PolicyEval, v, "compiled", "interpreted", "both")
		}},
		{"TWYN_POLICY_TIMEOUT", "policy-timeout", "500ms", "how long one evaluation of the policy may take before the request is denied, 1ms to 10s", func(c *config, v string) error {
			return readDuration(&c.PolicyTimeout, v, time.Millisecond, 10*time.Second)
		}},
		{"TWYN_POLICY_MEMO", "policy-memo", "65536", "most policy decisions remembered, 0 (none) to 10000000; each takes up to a few kilobytes", func(c *config, v string) error { return readInt(&c.PolicyMemo, v, 0, 10_000_000) }},
		{"TWYN_MAX_KEYS", "max-keys", "1000000", "most API keys kept in memory, 1 to 100000000", func(c *config, v string) error { return readInt(&c.MaxKeys, v, 1, 100_000_000) }},
		{"TWYN_MAX_COUNTERS", "max-counters", "1000000", "most limit counters kept in memory, 1000 to 100000000", func(c *config, v string) error { return readInt(&c.MaxCounters, v, 1000, 100_000_000) }},
		{"TWYN_FLUSH_INTERVAL", "flush-interval", "1s", "how often usage counts are written down, 10ms to 1m", func(c *config, v string) error {
			return readDuration(&c.FlushInterval, v, 10*time.Millisecond, time.Minute)
		}},
		{"TWYN_SHUTDOWN_TIMEOUT", "shutdown-timeout", "15s", "how long a stop waits for requests under way, 1s to 10m", func(c *config, v string) error {
			return readDuration(&c.ShutdownTimeout, v, time.Second, 10*time.Minute)
		}},
		{"TWYN_LOG_FORMAT", "log-format", "text", "`text` or `json`", func(c *config, v string) error { return readOneOf(&c.LogFormat, v, "text", "json") }},
		{"TWYN_LOG_LEVEL", "log-level", "info", "`debug`, `info`, `warn` or `error`", func(c *config, v string) error {
			var level string
			if err := readOneOf(&level, v, "debug", "info", "warn", "error"); err != nil {
				return err
			}
			return c.LogLevel.UnmarshalText([]byte(level))
		}},
	}, decisionSettings()...)
}

// addFlags declares a flag for every setting.
func addFlags(flags *pflag.FlagSet) {
	for _, s := range settings() {
		flags.String(s.flag, s.def, strings.ReplaceAll(s.meaning, "`", "")+" ["+s.env+"]")
	}
}

// readConfig reads every setting and names each that has a wrong value.
func readConfig(flags *pflag.FlagSet, getenv func(string) string) (*config, error) {
	c := new(config)
	var errs []error
	for _, s := range settings() {
		value := s.def
		if v := getenv(s.env); v != "" {
			value = v
		}
		if f := flags.Lookup(s.flag); f != nil && f.Changed {
			value = f.Value.String()
		}
		if err := s.read(c, value); err != nil {
			errs = append(errs, fmt.Errorf("%s (--%s): %w", s.env, s.flag, err))
		}
	}
	if c.PolicyDir != "" && c.PolicyBundleURL != "" {
		errs = append(errs, errors.New("TWYN_POLICY_DIR and TWYN_POLICY_BUNDLE_URL: only one of them can say what is live"))
	}
	if len(errs) > 0 {
		return nil, usageError{errors.Join(errs...)}
	}
	if c.OwnerURL == "" {
		c.OwnerURL = c.DatabaseURL
	}
	return c, nil
}

func readAddr(to *string, v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not host:port", v)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", v)
	}
	*to = v
	return nil
}

// readDatabaseURL never repeats the value in its error: it holds a password.
func readDatabaseURL(to *string, v string) error {
	if v != "" && !strings.HasPrefix(v, "postgres://") && !strings.HasPrefix(v, "postgresql://") && !strings.Contains(v, "=") {
		return errors.New("want postgres://… or key=value settings")
	}
	*to = v
	return nil
}

func readInt(to *int, v string, least, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%q is not a whole number from %d to %d", v, least, most)
	}
	*to = n
	return nil
}

func readDuration(to *time.Duration, v string, least, most time.Duration) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < least || d > most {
		return fmt.Errorf("%q is not a duration from %s to %s", v, least, most)
	}
	*to = d
	return nil
}

func readOneOf(to *string, v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			*to = v
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", v, strings.Join(allowed, ", "))
}

func readDir(v string) error {
	if v == "" {
		return nil
	}
	info, err := os.Stat(v)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q is not a directory", v)
	}
	return nil
}

func readBundleURL(to *string, v string) error {
	if v != "" && !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "http://") {
		return errors.New("want https://… or http://…")
	}
	*to = v
	return nil
}

// readFile reads a secret or a key; its error never holds it.
func readFile(to *string, v string) error {
	if v == "" {
		return nil
	}
	content, err := os.ReadFile(v) //nolint:gosec // The operator names it.
	*to = string(content)
	return err
}

func readHeaders(to *[]string, v string) error {
	for name := range strings.SplitSeq(v, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		switch name {
		case "":
		case "x-api-key", "authorization", "cookie", "proxy-authorization":
			return fmt.Errorf("%q carries secrets, which no policy may see", name)
		default:
			*to = append(*to, name)
		}
	}
	return nil
}
