package api

// Detail is the body of most errors.
type Detail struct {
	Detail string `json:"detail"`
}

// Conflict is the body of a 409.
type Conflict struct {
	Error   string `json:"error"`
	Message string `json:"message"`
	Status  string `json:"status"`
}

// RateLimited is the body of a 429. RetryAfter is in seconds.
type RateLimited struct {
	Error      string `json:"error"`
	Message    string `json:"message"`
	RetryAfter int64  `json:"retry_after"`
}

// Invalid is the body of a 422: every bad field at once.
type Invalid struct {
	Detail []FieldError `json:"detail"`
}

// FieldError says what is wrong with one field. Loc leads to it: "body",
// "query", "path" or "header" first, then names and list indices.
type FieldError struct {
	Loc  []any  `json:"loc"`
	Msg  string `json:"msg"`
	Type string `json:"type"`
}
