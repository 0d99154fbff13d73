package api

import (
	"fmt"
	"time"
)

// Time is a moment as the API writes it: RFC 3339 in UTC, ending in Z, with as
// many digits of a second as it needs. The zero value is null.
type Time time.Time

// MarshalJSON writes the moment in quotes, or null.
func (t Time) MarshalJSON() ([]byte, error) {
	moment := time.Time(t)
	if moment.IsZero() {
		return []byte("null"), nil
	}
	moment = moment.UTC()
	if year := moment.Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("writing a time: year %d has no RFC 3339 form", year)
	}
	b := make([]byte, 0, len(time.RFC3339Nano)+2)
	b = append(b, '"')
	b = moment.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"'), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(data []byte) error {
	var moment *time.Time
	if string(data) != "null" {
		moment = new(time.Time)
		if err := moment.UnmarshalJSON(data); err != nil {
			return fmt.Errorf("reading a time: %w", err)
		}
	}
	if moment == nil {
		*t = Time{}
		return nil
	}
	*t = Time(moment.UTC())
	return nil
}
