package policies

import (
	"fmt"
	"math/bits"

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

// parts are parts of the input: a bit for the opcode of each.
type parts uint64

// everything is the whole input.
const everything = ^parts(0)

// partsOf returns the parts of the input that a policy of that footprint can
// read. Of objects of any names they have the whole.
func partsOf(f *footprint) parts {
	var p parts
	for _, read := range f.input {
		for _, o := range opsOf(read.path) {
			for _, field := range inputFields {
				if o.code == field.code || field.value != 0 && o.code == field.value {
					p |= 1 << field.code
				}
			}
		}
	}
	return p
}

// count returns how many of the parts from first to last are among them.
func (p parts) count(first, last opcode) int {
	return bits.OnesCount64(uint64(p >> first & (1<<(last-first+1) - 1)))
}

// has reports whether a part is among them.
func (p parts) has(code opcode) bool { return p>>code&1 != 0 }

// inputValue builds Rego's input from the engine's, without a detour over JSON.
// What is nil there is empty here, so that policies need not tell the two apart;
// only a resource can be null.
func inputValue(in *engine.Input) (ast.Value, error) { return everything.inputValue(in) }

// inputValue builds these parts of the input, which is the larger part of the
// work of a decision if a policy reads little of it.
func (p parts) inputValue(in *engine.Input) (ast.Value, error) {
	input := ast.NewObjectWithCapacity(4)
	if n := p.count(opKeyID, opKeyExpiresAt); n > 0 {
		key, err := p.keyTerm(&in.Key, n)
		if err != nil {
			return nil, err
		}
		input.Insert(names.key, key)
	}
	if n := p.count(opTenantID, opTenantName); n > 0 {
		tenant := ast.NewObjectWithCapacity(n)
		p.addString(tenant, opTenantID, names.id, in.Tenant.ID)
		p.addString(tenant, opTenantName, names.name, in.Tenant.Name)
		input.Insert(names.tenant, ast.NewTerm(tenant))
	}
	if n := p.count(opRequestMethod, opRequestResourceType) + p.count(opRequestID, opRequestID); n > 0 {
		input.Insert(names.request, p.requestTerm(&in.Request, n))
	}
	if n := p.count(opResource, opResourceEnvironment); n > 0 {
		input.Insert(names.resource, p.resourceTerm(in.Resource, n))
	}
	return input, nil
}

// addString inserts a part into the object that it belongs to, if it is among
// them.
func (p parts) addString(to ast.Object, code opcode, name *ast.Term, value string) {
	if p.has(code) {
		to.Insert(name, str(value))
	}
}

// addInteger is addString for numbers.
func (p parts) addInteger(to ast.Object, code opcode, name *ast.Term, value int64) {
	if p.has(code) {
		to.Insert(name, integer(value))
	}
}

func (p parts) keyTerm(k *engine.InputKey, n int) (*ast.Term, error) {
	key := ast.NewObjectWithCapacity(n)
	p.addString(key, opKeyID, names.id, k.ID)
	p.addString(key, opKeyName, names.name, k.Name)
	p.addString(key, opKeyEnvironment, names.environment, k.Environment)
	p.addInteger(key, opKeyRateLimit, names.rateLimit, k.RateLimit)
	if p.has(opKeyScopes) {
		key.Insert(names.scopes, stringsTerm(k.Scopes))
	}
	if p.has(opKeyMetadata) {
		metadata := ast.InternedEmptyObject
		if len(k.Metadata) > 0 {
			value, err := ast.InterfaceToValue(k.Metadata)
			if err != nil {
				return nil, fmt.Errorf("reading the key's metadata: %w", err)
			}
			metadata = ast.NewTerm(value)
		}
		key.Insert(names.metadata, metadata)
	}
	p.addString(key, opKeyCreatedAt, names.createdAt, k.CreatedAt)
	if k.ExpiresAt != "" {
		p.addString(key, opKeyExpiresAt, names.expiresAt, k.ExpiresAt)
	}
	return ast.NewTerm(key), nil
}

func (p parts) requestTerm(r *engine.InputRequest, n int) *ast.Term {
	request := ast.NewObjectWithCapacity(n)
	p.addString(request, opRequestID, names.id, r.ID)
	p.addString(request, opRequestMethod, names.method, r.Method)
	p.addString(request, opRequestPath, names.path, r.Path)
	if p.has(opRequestSegments) {
		request.Insert(names.segments, stringsTerm(r.Segments))
	}
	p.addString(request, opRequestRoute, names.route, r.Route)
	if p.has(opRequestQuery) {
		request.Insert(names.query, mapTerm(r.Query))
	}
	if p.has(opRequestHeaders) {
		request.Insert(names.headers, mapTerm(r.Headers))
	}
	p.addInteger(request, opRequestSize, names.size, r.Size)
	p.addString(request, opRequestIP, names.ip, r.IP)
	p.addInteger(request, opRequestTime, names.time, r.Time)
	p.addString(request, opRequestResourceType, names.resourceType, r.ResourceType)
	return ast.NewTerm(request)
}

func (p parts) resourceTerm(r *engine.InputResource, n int) *ast.Term {
	if r == nil {
		return ast.InternedNullTerm
	}
	resource := ast.NewObjectWithCapacity(n)
	p.addString(resource, opResourceType, names.typ, r.Type)
	p.addString(resource, opResourceID, names.id, r.ID)
	p.addString(resource, opResourceTenantID, names.tenantID, r.TenantID)
	p.addString(resource, opResourceEnvironment, names.environment, r.Environment)
	return ast.NewTerm(resource)
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
