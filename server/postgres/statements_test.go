package postgres_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tenantPredicate is the one form in which a statement names its tenant.
const tenantPredicate = "tenant_id = $1"

// crossTenant are the statements that look across tenants or at none. Whoever
// adds one says here why it has no tenant.
var crossTenant = map[string]string{
	"setTenant":                "names the tenant of a transaction",
	"setRole":                  "changes the rights of a transaction",
	"findKey":                  "who is asking is not known yet",
	"findKeyOwner":             "whose a resource is decides whether it is refused",
	"findScenarioOwner":        "whose a resource is decides whether it is refused",
	"findSimulationOwner":      "whose a resource is decides whether it is refused",
	"findDecisionOwner":        "whose a resource is decides whether it is refused",
	"insertDecisions":          "a batch holds records of many tenants, each with its tenant",
	"makeDecisions":            "housekeeping",
	"dropDecisions":            "housekeeping",
	"findTenantOwner":          "whose a resource is decides whether it is refused",
	"findPolicyOwner":          "whose a resource is decides whether it is refused",
	"insertPolicy":             "policies are the platform's",
	"selectPolicy":             "policies are the platform's",
	"selectPolicies":           "policies are the platform's",
	"countPolicies":            "policies are the platform's",
	"selectLivePolicy":         "policies are the platform's",
	"selectPolicyData":         "policies are the platform's",
	"updateLivePolicy":         "policies are the platform's",
	"updatePolicyActivated":    "policies are the platform's",
	"insertPolicyData":         "policies are the platform's",
	"deleteOldPolicyData":      "policies are the platform's",
	"insertTenant":             "operators make tenants",
	"selectTenant":             "operators read tenants",
	"selectTenants":            "operators read tenants",
	"countTenants":             "operators read tenants",
	"updateTenantActive":       "operators disable tenants",
	"lockFirstTenant":          "there is no tenant yet",
	"selectEmpty":              "there is no tenant yet",
	"addUsage":                 "a batch holds keys of many tenants, each with its tenant",
	"selectCounters":           "a batch holds counters of many tenants, each with its tenant",
	"upsertCounters":           "a batch holds counters of many tenants, each with its tenant",
	"deleteExpiredCounters":    "housekeeping",
	"deleteExpiredIdempotency": "housekeeping",
	"deleteEndedSecrets":       "housekeeping",
	"hasVersions":              "migrations",
	"selectVersions":           "migrations",
	"lockMigrations":           "migrations",
	"unlockMigrations":         "migrations",
}

var (
	statementPattern = regexp.MustCompile(`(?is)^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|TRUNCATE|LOCK|CALL|DO|SET|MERGE|COPY|CREATE|ALTER|DROP)\s.*`)
	insertPattern    = regexp.MustCompile(`^\s*INSERT INTO \w+ \(tenant_id, [^)]*\)\s+VALUES \(\$1, `)
)

// statements returns the package's statements by the names of their constants,
// and fails for one that is no constant.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		constants := make(map[*ast.BasicLit]bool)
		for _, d := range file.Decls {
			for name, literal := range constantsOf(d) {
				if statement := unquote(t, literal); statementPattern.MatchString(statement) {
					constants[literal] = true
					found[name] = statement
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if ok && literal.Kind == token.STRING && !constants[literal] && statementPattern.MatchString(unquote(t, literal)) {
				t.Errorf("%s: a statement that is no constant", set.Position(literal.Pos()))
			}
			return true
		})
	}
	return found
}

// constantsOf returns the string constants that a declaration declares.
func constantsOf(d ast.Decl) map[string]*ast.BasicLit {
	found := make(map[string]*ast.BasicLit)
	declared, ok := d.(*ast.GenDecl)
	if !ok || declared.Tok != token.CONST {
		return found
	}
	for _, spec := range declared.Specs {
		values, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for i, v := range values.Values {
			if literal, ok := v.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				found[values.Names[i].Name] = literal
			}
		}
	}
	return found
}

func unquote(t *testing.T, literal *ast.BasicLit) string {
	t.Helper()
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tenantStatements are those that name their tenant, in a WHERE or as the
// first column of a new row.
func tenantStatements(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for name, statement := range statements(t) {
		if _, cross := crossTenant[name]; !cross {
			found[name] = statement
		}
	}
	return found
}

func TestEveryStatementNamesItsTenant(t *testing.T) {
	t.Parallel()
	all := statements(t)
	for name, statement := range all {
		_, cross := crossTenant[name]
		named := strings.Count(statement, tenantPredicate)
		where := strings.Count(statement, "WHERE ")
		switch {
		case cross && named > 0:
			t.Errorf("%s names a tenant and is listed as looking across them", name)
		case cross, insertPattern.MatchString(statement) && named == 0:
		case named != 1 || where != 1 || !strings.Contains(statement, "\nWHERE "+tenantPredicate):
			t.Errorf("%s: want one WHERE, beginning with %q; or, if it looks across tenants, list why", name, tenantPredicate)
		case regexp.MustCompile(`(?i)\sOR\s`).MatchString(unparenthesised(statement)):
			t.Errorf("%s: an OR beside the tenant", name)
		}
	}
	for name := range crossTenant {
		if _, exists := all[name]; !exists {
			t.Errorf("%s is listed and does not exist", name)
		}
	}
	if len(all) < 30 {
		t.Errorf("only %d statements were found", len(all))
	}
}

// unparenthesised is the text outside all parentheses.
func unparenthesised(text string) string {
	var outside strings.Builder
	depth := 0
	for _, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		default:
			if depth == 0 {
				outside.WriteRune(c)
			}
		}
	}
	return outside.String()
}

func TestEveryTableHasForcedRowLevelSecurity(t *testing.T) {
	t.Parallel()
	_, u := open(t)
	rows, err := pool(t, u).QueryContext(t.Context(), `
		SELECT relname, relrowsecurity AND relforcerowsecurity, pg_get_userbyid(relowner) IN ('twyn_server', 'twyn_system')
		FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relname <> 'goose_db_version'
		ORDER BY relname`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var tables []string
	for rows.Next() {
		var table string
		var secure, owned bool
		if err := rows.Scan(&table, &secure, &owned); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
		if !secure || owned {
			t.Errorf("%s: row-level security forced %v, owned by a role of the server %v", table, secure, owned)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{"counters", "decisions", "idempotency", "keys", "policies", "policy_data", "policy_live", "scenarios", "secrets", "simulations", "tenants"}
	if !slices.Equal(tables, want) {
		t.Errorf("got tables %v, want %v", tables, want)
	}
}
