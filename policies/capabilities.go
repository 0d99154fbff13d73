package policies

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// forbidden lists the built-in functions that policies do not have, by name or,
// where it ends in a dot, by prefix, and why. What OPA itself marks as not
// deterministic is forbidden too, listed here or not.
var forbidden = [...]struct{ name, why string }{
	{"http.", "it reaches the network"},
	{"net.lookup_ip_addr", "it reaches the network"},
	{"providers.", "it serves to call others over the network"},
	{"opa.runtime", "it shows the environment of the server"},
	{"rego.parse_module", "it makes policies of data"},
	{"time.now_ns", "time is input.request.time"},
	{"rand.", "it is random"},
	{"uuid.rfc4122", "it is random"},
	{"crypto.x509.", "it depends on the clock and the certificates of the machine"},
	{"io.jwt.decode_verify", "it depends on the clock"},
	{"io.jwt.encode_sign", "it is random"},
	{"io.jwt.encode_sign_raw", "it is random"},
	{"json.match_schema", "its schemas can refer to the network"},
	{"json.verify_schema", "its schemas can refer to the network"},
	{"trace", "it writes to the output of the server"},
	{"print", "it writes to the output of the server"},
	{"internal.print", "it writes to the output of the server"},
}

// whyForbidden reports whether policies do not have a built-in function of
// OPA's, and why.
func whyForbidden(builtin *ast.Builtin) (why string, ok bool) {
	for _, f := range forbidden {
		if builtin.Name == f.name || strings.HasSuffix(f.name, ".") && strings.HasPrefix(builtin.Name, f.name) {
			return f.why, true
		}
	}
	return "it does not always give the same answer", builtin.Nondeterministic
}

// capabilities returns what policies may use: OPA's own capabilities without
// what is forbidden, and no host to fetch schemas from.
func capabilities() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion()
	allowed := *all
	allowed.Builtins = make([]*ast.Builtin, 0, len(all.Builtins))
	for _, builtin := range all.Builtins {
		if _, refused := whyForbidden(builtin); !refused {
			allowed.Builtins = append(allowed.Builtins, builtin)
		}
	}
	allowed.AllowNet = []string{}
	return &allowed
}

// checkForbidden finds the places where a module calls a built-in function that
// policies do not have, or puts one in the place of another function using
// "with". The compiler, which does not know these functions, refuses them as
// well, except for print, which it erases; this says why.
func checkForbidden(module *ast.Module, refused map[string]string) []Problem {
	var problems []Problem
	check := func(term *ast.Term) {
		name := term.Value.String()
		if why, ok := refused[name]; ok && term.Location != nil {
			problems = append(problems, Problem{
				File: term.Location.File, Row: term.Location.Row, Col: term.Location.Col,
				Message: "policies do not have " + name + ": " + why,
			})
		}
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.IsCall() {
				check(x.OperatorTerm())
			}
		case ast.Call:
			check(x[0])
		case *ast.With:
			check(x.Target)
			check(x.Value)
		}
		return false
	}).Walk(module)
	return problems
}

// refusals returns the built-in functions of OPA that policies do not have, and
// why.
func refusals() map[string]string {
	refused := map[string]string{}
	for _, builtin := range ast.CapabilitiesForThisVersion().Builtins {
		if why, ok := whyForbidden(builtin); ok {
			refused[builtin.Name] = why
		}
	}
	return refused
}
