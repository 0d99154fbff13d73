package policies

import (
	"time"

	"github.com/twyn/twyn/engine"
)

// QuestionOf returns the question whose document is the input.
func QuestionOf(in *engine.Input) engine.Question {
	moment := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return time.Time{}
		}
		return at
	}
	q := engine.Question{
		Request: &engine.Request{
			ID: in.Request.ID, At: time.Unix(0, in.Request.Time).UTC(), Method: in.Request.Method, Path: in.Request.Path,
			Segments: in.Request.Segments, Route: in.Request.Route, Query: in.Request.Query, Headers: in.Request.Headers,
			Size: in.Request.Size, IP: in.Request.IP, Target: engine.Target{Type: in.Request.ResourceType},
		},
		Principal: &engine.Principal{
			Key: &engine.Key{
				ID: in.Key.ID, TenantID: in.Tenant.ID, Name: in.Key.Name, Environment: engine.Environment(in.Key.Environment),
				Active: true, RateLimit: in.Key.RateLimit, Scopes: in.Key.Scopes, Metadata: in.Key.Metadata,
				CreatedAt: moment(in.Key.CreatedAt), ExpiresAt: moment(in.Key.ExpiresAt),
			},
			Tenant: &engine.Tenant{ID: in.Tenant.ID, Name: in.Tenant.Name, Active: true},
		},
	}
	if r := in.Resource; r != nil {
		q.Request.Target.ID = r.ID
		q.Resource = &engine.Resource{Type: r.Type, ID: r.ID, TenantID: r.TenantID, Environment: engine.Environment(r.Environment)}
	}
	return q
}
