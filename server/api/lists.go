package api

// List answers a GET of a collection other than keys, newest first. Total
// counts everything that matches; Limit and Offset repeat what was asked for.
type List[T any] struct {
	Items  []T `json:"items"`
	Total  int `json:"total"`
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
}
