package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestConfigurationTable holds docs/configuration.md to the settings.
func TestConfigurationTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| setting | flag | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, s := range settings() {
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&want, "| `%s` | `--%s` | %s | %s |\n", s.env, s.flag, def, s.meaning)
	}
	if !strings.Contains(string(doc), want.String()+"\n") {
		t.Errorf("docs/configuration.md does not hold this table:\n%s", want.String())
	}
}

func read(t *testing.T, env map[string]string, args ...string) (*config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("twyn", pflag.ContinueOnError)
	addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return readConfig(flags, func(name string) string { return env[name] })
}

func TestReadConfigPrecedence(t *testing.T) {
	env := map[string]string{"TWYN_ADDR": "127.0.0.1:1", "TWYN_DATABASE_CONNS": "7", "TWYN_LOG_FORMAT": ""}
	c, err := read(t, env, "--addr", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	if c.Addr != "127.0.0.1:2" || c.DatabaseConns != 7 || c.LogFormat != "text" {
		t.Errorf("want the flag, then the variable, then the default: %+v", c)
	}
	if c, err := read(t, map[string]string{"DATABASE_URL": "postgres://x"}); err != nil || c.OwnerURL != "postgres://x" {
		t.Errorf("the owner's URL is not DATABASE_URL by default: %+v, %v", c, err)
	}
}

func TestReadConfigNamesEveryWrongSetting(t *testing.T) {
	wrong := map[string]string{
		"TWYN_ADDR":                    "nowhere",
		"TWYN_METRICS_ADDR":            "127.0.0.1:port",
		"DATABASE_URL":                 "hunter2",
		"TWYN_OWNER_DATABASE_URL":      "hunter2",
		"TWYN_DATABASE_CONNS":          "0",
		"TWYN_MIGRATE":                 "perhaps",
		"TWYN_POLICY_DIR":              "config_test.go",
		"TWYN_POLICY_BUNDLE_URL":       "ftp://example.com/bundle.tar.gz",
		"TWYN_POLICY_BUNDLE_KEY":       "no-such-file",
		"TWYN_POLICY_BUNDLE_ALGORITHM": "none",
		"TWYN_POLICY_BUNDLE_INTERVAL":  "0s",
		"TWYN_POLICY_HEADERS":          "accept,X-API-Key",
		"TWYN_POLICY_EVAL":             "guessed",
		"TWYN_POLICY_TIMEOUT":          "0",
		"TWYN_POLICY_MEMO":             "-1",
		"TWYN_MAX_KEYS":                "many",
		"TWYN_MAX_COUNTERS":            "1",
		"TWYN_FLUSH_INTERVAL":          "soon",
		"TWYN_SHUTDOWN_TIMEOUT":        "1h",
		"TWYN_DECISION_SAMPLE":         "NaN",
		"TWYN_DECISION_RATE":           "-1",
		"TWYN_DECISION_FLUSH":          "1h",
		"TWYN_DECISION_DISK":           "0",
		"TWYN_DECISION_RETENTION":      "1h",
		"TWYN_URL":                     "ftp://hunter2",
		"TWYN_API_KEY":                 "hunter2 ",
		"TWYN_LOG_FORMAT":              "xml",
		"TWYN_LOG_LEVEL":               "loud",
	}
	_, err := read(t, wrong)
	if err == nil {
		t.Fatal("wrong settings were accepted")
	}
	for _, s := range settings() {
		if _, set := wrong[s.env]; !set && s.env != "TWYN_DATA_DIR" {
			t.Errorf("%s has no wrong value in this test", s.env)
		} else if set && !strings.Contains(err.Error(), s.env) {
			t.Errorf("the error does not name %s", s.env)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error repeats a database URL, which may hold a password")
	}
}

func TestRunExitCodes(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want int
	}{
		{"version", []string{"version"}, nil, exitOK},
		{"help", []string{"--help"}, nil, exitOK},
		{"bare", nil, nil, exitOK},
		{"unknown command", []string{"sevre"}, nil, exitUsage},
		{"unknown subcommand", []string{"tenant", "make"}, nil, exitUsage},
		{"missing subcommand", []string{"tenant"}, nil, exitUsage},
		{"unknown flag", []string{"version", "--loud"}, nil, exitUsage},
		{"missing flag", []string{"key", "list"}, nil, exitUsage},
		{"missing argument", []string{"tenant", "create"}, nil, exitUsage},
		{"wrong setting", []string{"serve"}, map[string]string{"TWYN_ADDR": "x"}, exitUsage},
		{"database away", []string{"tenant", "list"}, map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/x?sslmode=disable"}, exitFailure},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			got := run(t.Context(), tc.args, func(name string) string { return tc.env[name] }, &stdout, &stderr)
			if got != tc.want {
				t.Errorf("exit code %d, want %d\n%s%s", got, tc.want, &stdout, &stderr)
			}
			if got != exitOK && (stdout.Len() > 0 || stderr.Len() == 0) {
				t.Errorf("an error belongs on standard error alone: %q, %q", &stdout, &stderr)
			}
		})
	}
}
