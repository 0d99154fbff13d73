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
	// maxKeyBytes is the length beyond which a question has no key. It bounds
	// the memory of the memo.
	maxKeyBytes = 768
	// maxFields and maxDepth bound the work on objects that tenants and
	// clients write.
	maxFields = 16
	maxDepth  = 8
)

// encode writes the key of a question. It reports false if the question has
// none, because it would be too long or too much work.
func (e encoder) encode(to *memoKey, q engine.Question) bool {
	r, k := q.Request, q.Principal.Key
	for i := range e {
		// A switch, since the key would escape through a table of functions.
		switch o := &e[i]; o.code {
		case opKeyID:
			to.string(k.ID)
		case opKeyName:
			to.string(k.Name)
		case opKeyEnvironment:
			to.string(string(k.Environment))
		case opKeyRateLimit:
			to.integer(k.RateLimit)
		case opKeyScopes:
			to.strings(k.Scopes)
		case opKeyMetadata:
			to.object(k.Metadata, maxDepth)
		case opKeyMetadataField:
			value, present := k.Metadata[o.name]
			if to.boolean(present); present {
				to.value(value, maxDepth)
			}
		case opKeyCreatedAt:
			// Rego sees whole seconds in UTC.
			to.integer(k.CreatedAt.Unix())
		case opKeyExpiresAt:
			to.boolean(!k.ExpiresAt.IsZero())
			to.integer(k.ExpiresAt.Unix())
		case opTenantID:
			to.string(q.Principal.Tenant.ID)
		case opTenantName:
			to.string(q.Principal.Tenant.Name)
		case opRequestMethod:
			to.string(r.Method)
		case opRequestPath:
			to.string(r.Path)
		case opRequestSegments:
			to.strings(r.Segments)
		case opRequestRoute:
			to.string(r.Route)
		case opRequestQuery:
			to.fields(r.Query)
		case opRequestQueryField:
			to.field(r.Query, o.name)
		case opRequestHeaders:
			to.fields(r.Headers)
		case opRequestHeadersField:
			to.field(r.Headers, o.name)
		case opRequestSize:
			to.integer(r.Size)
		case opRequestIP:
			to.string(r.IP)
		case opRequestTime:
			to.integer(r.Minute())
		case opRequestResourceType:
			to.string(r.Target.Type)
		case opResource:
			if to.boolean(q.Resource != nil); q.Resource == nil {
				return !to.full
			}
		case opResourceType:
			to.string(q.Resource.Type)
		case opResourceID:
			to.string(q.Resource.ID)
		case opResourceTenantID:
			to.string(q.Resource.TenantID)
		case opResourceEnvironment:
			to.string(string(q.Resource.Environment))
		default:
			return false
		}
	}
	return !to.full
}
