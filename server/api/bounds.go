package api

// Bounds of requests. Lengths of texts are in characters (Unicode code
// points), sizes in bytes.
const (
	MaxBodyBytes = 1 << 20 // largest body of a route, but where the route says otherwise

	MaxNameChars        = 100 // names of keys, tenants and scenarios; at least 1
	MaxDescriptionChars = 2000
	MaxTitleChars       = 200
	MaxPromptChars      = 20_000
	MaxTags             = 20
	MaxTagChars         = 50
	MaxMetadataBytes    = 16 << 10 // of the object as compact JSON
	MaxMetadataDepth    = 8        // the object itself is depth 1
	MaxWhatIfBytes      = 64 << 10
	MaxScopes           = 32

	MinRateLimit          = 1
	MaxRateLimit          = 1_000_000 // per hour
	MaxExpiresInDays      = 3650      // at least 1
	MaxGracePeriodSeconds = 30 * 24 * 3600

	DefaultListLimit = 20
	MaxListLimit     = 100
	MaxKeyListLimit  = 1000
	MaxListOffset    = 1_000_000_000

	MaxIdempotencyKeyBytes = 255

	MaxSteps           = 10_000
	MaxAgentGroups     = 100
	MaxAgentsPerGroup  = 1_000_000
	MaxVariables       = 100 // per agent group
	MaxActions         = 100 // per agent group
	MaxIdentifierChars = 64  // ids of agent groups, names of variables and actions
	MaxArchitectTurns  = 100
)
