// Package api holds the shapes of the HTTP API: the bodies of answers, field
// for field in the order in which they are sent, and the bounds that requests
// are held to.
//
// The server writes these types and clients read them. The package knows
// nothing of how an answer comes about and must import the standard library
// only.
package api
