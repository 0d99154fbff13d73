package policies

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
)

// names are the names of the input's fields as terms, made once. OPA shares
// terms between evaluations and does not change them.
var names = struct {
	key, tenant, request, resource,
	id, name, environment, rateLimit, scopes, metadata, createdAt, expiresAt,
	method, path, segments, route, query, headers, size, ip, time, resourceType,
	typ, tenantID *ast.Term
}{
	key: ast.StringTerm("key"), tenant: ast.StringTerm("tenant"),
	request: ast.StringTerm("request"), resource: ast.StringTerm("resource"),
	id: ast.StringTerm("id"), name: ast.StringTerm("name"), environment: ast.StringTerm("environment"),
	rateLimit: ast.StringTerm("rate_limit"), scopes: ast.StringTerm("scopes"), metadata: ast.StringTerm("metadata"),
	createdAt: ast.StringTerm("created_at"), expiresAt: ast.StringTerm("expires_at"),
	method: ast.StringTerm("method"), path: ast.StringTerm("path"), segments: ast.StringTerm("segments"),
	route: ast.StringTerm("route"), query: ast.StringTerm("query"), headers: ast.StringTerm("headers"),
	size: ast.StringTerm("size"), ip: ast.StringTerm("ip"), time: ast.StringTerm("time"),
	resourceType: ast.StringTerm("resource_type"),
	typ:          ast.StringTerm("type"), tenantID: ast.StringTerm("tenant_id"),
}

// inputValue builds Rego's input from the engine's, without a detour over JSON.
// What is nil there is empty here, so that policies need not tell the two apart;
// only a resource can be null.
func inputValue(in *engine.Input) (ast.Value, error) {
	key, err := keyTerm(&in.Key)
	if err != nil {
		return nil, err
	}
	return ast.NewObject(
		ast.Item(names.key, key),
		ast.Item(names.tenant, ast.ObjectTerm(
			ast.Item(names.id, str(in.Tenant.ID)),
			ast.Item(names.name, str(in.Tenant.Name)),
		)),
		ast.Item(names.request, requestTerm(&in.Request)),
		ast.Item(names.resource, resourceTerm(in.Resource)),
	), nil
}

func keyTerm(k *engine.InputKey) (*ast.Term, error) {
	metadata := ast.InternedEmptyObject
	if len(k.Metadata) > 0 {
		value, err := ast.InterfaceToValue(k.Metadata)
		if err != nil {
			return nil, fmt.Errorf("reading the key's metadata: %w", err)
		}
		metadata = ast.NewTerm(value)
	}
	key := ast.NewObjectWithCapacity(8)
	key.Insert(names.id, str(k.ID))
	key.Insert(names.name, str(k.Name))
	key.Insert(names.environment, str(k.Environment))
	key.Insert(names.rateLimit, integer(k.RateLimit))
	key.Insert(names.scopes, stringsTerm(k.Scopes))
	key.Insert(names.metadata, metadata)
	key.Insert(names.createdAt, str(k.CreatedAt))
	if k.ExpiresAt != "" {
		key.Insert(names.expiresAt, str(k.ExpiresAt))
	}
	return ast.NewTerm(key), nil
}

func requestTerm(r *engine.InputRequest) *ast.Term {
	return ast.ObjectTerm(
		ast.Item(names.id, str(r.ID)),
		ast.Item(names.method, str(r.Method)),
		ast.Item(names.path, str(r.Path)),
		ast.Item(names.segments, stringsTerm(r.Segments)),
		ast.Item(names.route, str(r.Route)),
		ast.Item(names.query, mapTerm(r.Query)),
		ast.Item(names.headers, mapTerm(r.Headers)),
		ast.Item(names.size, integer(r.Size)),
		ast.Item(names.ip, str(r.IP)),
		ast.Item(names.time, integer(r.Time)),
		ast.Item(names.resourceType, str(r.ResourceType)),
	)
}

func resourceTerm(r *engine.InputResource) *ast.Term {
	if r == nil {
		return ast.InternedNullTerm
	}
	return ast.ObjectTerm(
		ast.Item(names.typ, str(r.Type)),
		ast.Item(names.id, str(r.ID)),
		ast.Item(names.tenantID, str(r.TenantID)),
		ast.Item(names.environment, str(r.Environment)),
	)
}

func stringsTerm(list []string) *ast.Term {
	if len(list) == 0 {
		return ast.InternedEmptyArray
	}
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = str(s)
	}
	return ast.ArrayTerm(terms...)
}

func mapTerm(m map[string]string) *ast.Term {
	if len(m) == 0 {
		return ast.InternedEmptyObject
	}
	object := ast.NewObjectWithCapacity(len(m))
	for name, value := range m {
		object.Insert(str(name), str(value))
	}
	return ast.NewTerm(object)
}

// str and integer use the terms that OPA keeps for common values.
func str(s string) *ast.Term { return ast.InternedTerm(s) }

func integer(n int64) *ast.Term { return ast.InternedTerm(n) }
