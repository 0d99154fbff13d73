package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/twyn/twyn/server/api"
)

func TestTimeJSON(t *testing.T) {
	t.Parallel()
	rome := time.FixedZone("CET", 3600)
	for _, tt := range []struct {
		name string
		time time.Time
		want string
	}{
		{"whole seconds", time.Date(2025, 11, 24, 1, 0, 0, 0, time.UTC), `"2025-11-24T01:00:00Z"`},
		{"microseconds", time.Date(2025, 11, 24, 1, 0, 0, 120_000, time.UTC), `"2025-11-24T01:00:00.00012Z"`},
		{"another zone", time.Date(2025, 11, 24, 1, 0, 0, 0, rome), `"2025-11-24T00:00:00Z"`},
		{"zero", time.Time{}, `null`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(api.Time(tt.time))
			if err != nil || string(got) != tt.want {
				t.Fatalf("Marshal = %s, %v; want %s", got, err, tt.want)
			}
			var back api.Time
			if err := json.Unmarshal(got, &back); err != nil || !time.Time(back).Equal(tt.time) {
				t.Errorf("Unmarshal(%s) = %v, %v; want %v", got, time.Time(back), err, tt.time)
			}
		})
	}
	if _, err := json.Marshal(api.Time(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))); err == nil {
		t.Error("Marshal of year 10000 succeeded; want an error")
	}
}

// TestKeyCreatedFields pins the bytes that the published examples show.
func TestKeyCreatedFields(t *testing.T) {
	t.Parallel()
	created := api.KeyCreated{
		KeyID: "key_abc123", APIKey: "shown once", TenantID: "your-tenant-id", Name: "Development Server", RateLimit: 500,
		ExpiresAt: api.Time(time.Date(2026, 2, 22, 1, 0, 0, 0, time.UTC)),
		CreatedAt: api.Time(time.Date(2025, 11, 24, 1, 0, 0, 0, time.UTC)),
	}
	got, err := json.Marshal(created)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"key_id":"key_abc123","api_key":"shown once","tenant_id":"your-tenant-id","name":"Development Server",` +
		`"rate_limit":500,"expires_at":"2026-02-22T01:00:00Z","created_at":"2025-11-24T01:00:00Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	created.Metadata = map[string]any{}
	if got, err = json.Marshal(created); err != nil || string(got) != want[:len(want)-1]+`,"metadata":{}}` {
		t.Errorf("with metadata asked for: %s, %v", got, err)
	}
}
