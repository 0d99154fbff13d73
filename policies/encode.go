package policies

import "github.com/twyn/twyn/engine"

// opcode names a part of a question that a key of the memo can hold.
type opcode uint8

// The parts, in the order in which they stand in a key.
const (
	opKeyID opcode = iota
	opKeyName
	opKeyEnvironment
	opKeyRateLimit
	opKeyScopes
	opKeyMetadata      // the whole object
	opKeyMetadataField // the value under op.name
	opKeyCreatedAt
	opKeyExpiresAt
	opTenantID
	opTenantName
	opRequestMethod
	opRequestPath
	opRequestSegments
	opRequestRoute
	opRequestQuery      // the whole object
	opRequestQueryField // the value under op.name
	opRequestHeaders
	opRequestHeadersField
	opRequestSize
	opRequestIP
	opRequestTime
	opRequestResourceType
	// The parts of a resource follow opResource, which tells whether there is
	// one; if not they take no room.
	opResource
	opResourceType
	opResourceID
	opResourceTenantID
	opResourceEnvironment
	// opRequestID has another value in each request, so no key holds it.
	opRequestID
)

// op is one step in making a key.
type op struct {
	code opcode
	name string // what to look up; "" but for the opcodes that end in Field
}

// encoder makes keys of questions: the parts that a footprint names, in a fixed
// order, each in a form that tells where it ends. So two questions have the same
// key if and only if they agree on all of these parts.
type encoder []op

const (
	// keyBytes is room for most keys. Clearing more of it would show in the
	// time of a hit.
	keyBytes = 192
	// maxKeyBytes is the length beyond which a question has no key. It bounds
	// the memory of the memo.
	maxKeyBytes = 1024
	// maxFields and maxDepth bound the work on objects that tenants and
	// clients write.
	maxFields = 16
	maxDepth  = 8
)

// encode writes the key of a question and returns its length. It reports false
// if the question has none, because it would be too long or too much work.
//
//nolint:funlen // One case for each part of the input; calls would cost the speed.
func (e encoder) encode(to memoKey, q engine.Question) (n int, ok bool) {
	r, k := q.Request, q.Principal.Key
	for i := range e {
		// A switch, since the key would escape through a table of functions.
		switch o := &e[i]; o.code {
		case opKeyID:
			n = to.string(n, k.ID)
		case opKeyName:
			n = to.string(n, k.Name)
		case opKeyEnvironment:
			n = to.string(n, string(k.Environment))
		case opKeyRateLimit:
			n = to.integer(n, k.RateLimit)
		case opKeyScopes:
			n = to.strings(n, k.Scopes)
		case opKeyMetadata:
			n = to.object(n, k.Metadata, maxDepth)
		case opKeyMetadataField:
			value, present := k.Metadata[o.name]
			if n = to.boolean(n, present); present {
				n = to.value(n, value, maxDepth)
			}
		case opKeyCreatedAt:
			// Rego sees whole seconds in UTC.
			n = to.integer(n, k.CreatedAt.Unix())
		case opKeyExpiresAt:
			n = to.integer(to.boolean(n, !k.ExpiresAt.IsZero()), k.ExpiresAt.Unix())
		case opTenantID:
			n = to.string(n, q.Principal.Tenant.ID)
		case opTenantName:
			n = to.string(n, q.Principal.Tenant.Name)
		case opRequestMethod:
			n = to.string(n, r.Method)
		case opRequestPath:
			n = to.string(n, r.Path)
		case opRequestSegments:
			n = to.strings(n, r.Segments)
		case opRequestRoute:
			n = to.string(n, r.Route)
		case opRequestQuery:
			n = to.fields(n, r.Query)
		case opRequestQueryField:
			n = to.field(n, r.Query, o.name)
		case opRequestHeaders:
			n = to.fields(n, r.Headers)
		case opRequestHeadersField:
			n = to.field(n, r.Headers, o.name)
		case opRequestSize:
			n = to.integer(n, r.Size)
		case opRequestIP:
			n = to.string(n, r.IP)
		case opRequestTime:
			n = to.integer(n, r.Minute())
		case opRequestResourceType:
			n = to.string(n, r.Target.Type)
		case opResource:
			if n = to.boolean(n, q.Resource != nil); q.Resource == nil {
				return n, n <= len(to)
			}
		case opResourceType:
			n = to.string(n, q.Resource.Type)
		case opResourceID:
			n = to.string(n, q.Resource.ID)
		case opResourceTenantID:
			n = to.string(n, q.Resource.TenantID)
		case opResourceEnvironment:
			n = to.string(n, string(q.Resource.Environment))
		default:
			return 0, false
		}
	}
	return n, n <= len(to)
}
