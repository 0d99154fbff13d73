// Package server is the HTTP API of twyn on Fiber: requests in, responses out.
//
// routes.go lists every route in one function, a line each. boundary.go turns
// a Fiber context into an engine.Request and copies every string it takes,
// because Fiber's strings are valid only inside their handler
// (gofiber/fiber#2902). Each noun has a file of its own.
//
// The package decides nothing: it asks an engine and answers what it says. It
// sees stores, policy and plugins through the interfaces in ports.go and must
// never import SQL, OPA, wazero or the packages that wrap them; cmd/twyn hands
// it the real ones.
package server
