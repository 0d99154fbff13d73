package engine

import "time"

// Input builds the document that Rego sees as input. It shares the lists and
// maps of the question.
func (q Question) Input() Input { return newInput(q.Request, q.Principal, q.Resource) }

func newInput(r *Request, p *Principal, resource *Resource) Input {
	k := p.Key
	in := Input{
		Key: InputKey{
			ID: k.ID, Name: k.Name, Environment: string(k.Environment), RateLimit: k.RateLimit,
			Scopes: k.Scopes, Metadata: k.Metadata, CreatedAt: k.CreatedAt.UTC().Format(time.RFC3339),
		},
		Tenant: InputTenant{ID: p.Tenant.ID, Name: p.Tenant.Name},
		Request: InputRequest{
			ID: r.ID, Method: r.Method, Path: r.Path, Segments: r.Segments, Route: r.Route, Query: r.Query,
			Headers: r.Headers, Size: r.Size, IP: r.IP, Time: r.Minute(), ResourceType: r.Target.Type,
		},
	}
	if !k.ExpiresAt.IsZero() {
		in.Key.ExpiresAt = k.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if resource != nil {
		in.Resource = &InputResource{
			Type: resource.Type, ID: resource.ID, TenantID: resource.TenantID, Environment: string(resource.Environment),
		}
	}
	return in
}

// Minute is the minute in which the request arrived, in nanoseconds since 1970
// UTC: the time that policies see.
func (r *Request) Minute() int64 { return r.At.Truncate(time.Minute).UnixNano() }
