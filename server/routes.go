package server

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/server/api"
)

// access says whether a route passes the order of checks.
type access bool

const (
	decided access = true
	open    access = false
)

// route is one line of the route table.
type route struct {
	method   string
	pattern  string
	resource string // type of resource, for the policy; "": none
	param    string // path parameter that is the resource's id; "": the collection
	access   access
	maxBody  int // bytes
	handle   func(*exchange) error
}

// label names the route in logs and metrics.
func (r *route) label() string {
	if r == nil || r.pattern == "" {
		return "unmatched"
	}
	return r.pattern
}

// routes is the table of all routes. HEAD works wherever GET does. Whatever is
// not in the table passes the order of checks too, and then is a 404 or 405.
func (s *Server) routes() []route {
	const body = api.MaxBodyBytes
	return []route{
		{"GET", "/healthz", "", "", open, body, s.healthz},
		{"GET", "/readyz", "", "", open, body, s.readyz},
		{"GET", "/docs", "", "", open, body, s.docs},
		{"GET", "/openapi.json", "", "", open, body, s.openapi},

		{"POST", "/v1/keys", "key", "", decided, body, s.createKey},
		{"GET", "/v1/keys", "key", "", decided, body, s.listKeys},
		{"GET", "/v1/keys/:key_id", "key", "key_id", decided, body, s.getKey},
		{"PATCH", "/v1/keys/:key_id", "key", "key_id", decided, body, s.updateKey},
		{"DELETE", "/v1/keys/:key_id", "key", "key_id", decided, body, s.deleteKey},
		{"POST", "/v1/keys/:key_id/rotate", "key", "key_id", decided, body, s.rotateKey},

		{"POST", "/v1/tenants", "tenant", "", decided, body, s.createTenant},
		{"GET", "/v1/tenants", "tenant", "", decided, body, s.listTenants},
		{"GET", "/v1/tenants/:tenant_id", "tenant", "tenant_id", decided, body, s.getTenant},
		{"PATCH", "/v1/tenants/:tenant_id", "tenant", "tenant_id", decided, body, s.updateTenant},

		{"POST", "/v1/scenarios", "scenario", "", decided, body, s.createScenario},
		{"GET", "/v1/scenarios", "scenario", "", decided, body, s.listScenarios},
		{"GET", "/v1/scenarios/:id", "scenario", "id", decided, body, s.getScenario},
		{"PUT", "/v1/scenarios/:id", "scenario", "id", decided, body, s.updateScenario},
		{"DELETE", "/v1/scenarios/:id", "scenario", "id", decided, body, s.deleteScenario},

		{"POST", "/v1/simulations", "simulation", "", decided, body, s.createSimulation},
		{"POST", "/v1/simulations/with-config", "simulation", "", decided, body, s.createConfigured},
		{"GET", "/v1/simulations", "simulation", "", decided, body, s.listSimulations},
		{"GET", "/v1/simulations/:id", "simulation", "id", decided, body, s.getSimulation},
		{"DELETE", "/v1/simulations/:id", "simulation", "id", decided, body, s.deleteSimulation},
		{"GET", "/v1/simulations/:id/results", "simulation", "id", decided, body, s.getResults},
		{"GET", "/v1/simulations/:id/config", "simulation", "id", decided, body, s.getConfig},
		{"PUT", "/v1/simulations/:id/config", "simulation", "id", decided, body, s.putConfig},
		{"POST", "/v1/simulations/:id/architect", "simulation", "id", decided, body, s.runArchitect},

		{"GET", "/v1/decisions", "decision", "", decided, body, s.listDecisions},
		{"GET", "/v1/decisions/:id", "decision", "id", decided, body, s.getDecision},

		{"POST", "/v1/policies", "policy", "", decided, api.MaxPolicyBodyBytes, s.withDesk(s.createPolicy)},
		{"GET", "/v1/policies", "policy", "", decided, body, s.withDesk(s.listPolicies)},
		{"GET", "/v1/policies/live", "policy", "", decided, body, s.withDesk(s.getLivePolicy)},
		{"POST", "/v1/policies/rollback", "policy", "", decided, body, s.withDesk(s.rollbackPolicy)},
		{"GET", "/v1/policies/data", "policy", "", decided, body, s.withDesk(s.getPolicyData)},
		{"PUT", "/v1/policies/data", "policy", "", decided, body, s.withDesk(s.putPolicyData)},
		{"PATCH", "/v1/policies/data", "policy", "", decided, body, s.withDesk(s.patchPolicyData)},
		{"GET", "/v1/policies/data/*", "policy", "", decided, body, s.withDesk(s.getPolicyData)},
		{"PUT", "/v1/policies/data/*", "policy", "", decided, body, s.withDesk(s.putPolicyData)},
		{"PATCH", "/v1/policies/data/*", "policy", "", decided, body, s.withDesk(s.patchPolicyData)},
		{"GET", "/v1/policies/:id", "policy", "id", decided, body, s.withDesk(s.getPolicy)},
		{"GET", "/v1/policies/:id/files/*", "policy", "id", decided, body, s.withDesk(s.getPolicyFile)},
		{"GET", "/v1/policies/:id/diff/:other", "policy", "id", decided, body, s.withDesk(s.diffPolicies)},
		{"POST", "/v1/policies/:id/activate", "policy", "id", decided, body, s.withDesk(s.activatePolicy)},
		{"POST", "/v1/policies/:id/rollback", "policy", "id", decided, body, s.withDesk(s.rollbackPolicy)},
		{"POST", "/v1/policies/:id/evaluate", "policy", "id", decided, body, s.withDesk(s.evaluatePolicy)},
	}
}

// otherMethod stands for every method that the router does not know, so that
// requests with such a method are decided like all others.
const otherMethod = "OTHER"

func isKnownMethod(method string) bool { return slices.Contains(fiber.DefaultMethods, method) }

// mount hands the table to the router. Each pattern in turn gets its routes
// and then 405 for every other method, so that "/v1/simulations/with-config"
// is never an id; everything else is 404.
func (s *Server) mount() {
	table := s.routes()
	mounted := map[string]bool{}
	for i := range table {
		pattern := table[i].pattern
		if mounted[pattern] {
			continue
		}
		mounted[pattern] = true
		var allow []string
		for j := range table {
			if r := &table[j]; r.pattern == pattern {
				allow = append(allow, s.mountRoute(r)...)
			}
		}
		wrong := table[i] // the same resource: a wrong method is judged like a right one
		wrong.method, wrong.access, wrong.handle = "", decided, wrongMethod(strings.Join(allow, ", "))
		s.app.All(pattern, s.answer(&wrong))
	}
	s.app.Use(s.answer(&route{access: decided, maxBody: api.MaxBodyBytes, handle: nothingHere}))
}

// mountRoute mounts one line of the table and returns its methods.
func (s *Server) mountRoute(r *route) []string {
	s.app.Add(r.method, r.pattern, s.answer(r))
	if r.method != fiber.MethodGet {
		return []string{r.method}
	}
	s.app.Add(fiber.MethodHead, r.pattern, s.answer(r))
	return []string{fiber.MethodGet, fiber.MethodHead}
}

func nothingHere(*exchange) error { return notFound("", "") }

// wrongMethod answers 405 and names the methods there are.
func wrongMethod(allow string) func(*exchange) error {
	return func(x *exchange) error {
		x.header(headerAllow, allow)
		return detail(fiber.StatusMethodNotAllowed, "Method Not Allowed")
	}
}
