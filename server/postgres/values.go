package postgres

import (
	"encoding/json"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
)

// null is NULL for the zero time.
func null(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// utc is the time in UTC, the zero time for NULL.
func utc(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return at.UTC()
}

// rawJSON is JSON as a parameter: text, because bytes would be sent as the
// binary form of jsonb. NULL if there is none.
func rawJSON(raw json.RawMessage) *string {
	if len(raw) == 0 {
		return nil
	}
	text := string(raw)
	return &text
}

// names are environments as a parameter.
func names(environments []engine.Environment) pq.StringArray {
	list := make(pq.StringArray, len(environments))
	for i, e := range environments {
		list[i] = string(e)
	}
	return list
}

// wellFormedUUID reports whether id is a UUID in its canonical form, the only
// one in which the API writes it.
func wellFormedUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// wellFormedKeyID reports whether id is "key_" and 24 lower-case letters and
// digits.
func wellFormedKeyID(id string) bool { return wellFormedName(id, "key_") }

// wellFormedTenantID reports whether id is the platform's or "ten_" and 24
// lower-case letters and digits.
func wellFormedTenantID(id string) bool {
	return id == engine.PlatformTenantID || wellFormedName(id, "ten_")
}

func wellFormedName(id, prefix string) bool {
	if len(id) != len(prefix)+24 || id[:len(prefix)] != prefix {
		return false
	}
	for _, c := range []byte(id[len(prefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// window bounds a page to what SQL takes.
func window(page engine.Page) (limit, offset int) { return max(page.Limit, 0), max(page.Offset, 0) }
