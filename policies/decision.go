package policies

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// Bounds of a decision document. Codes become labels of metrics, messages the
// bodies of answers.
const (
	maxReasons      = 32
	maxCodeBytes    = 64
	maxMessageBytes = 500
	maxLimits       = 16
)

// decodeDecision reads {"allow", "reasons", "limits"}. It is strict: whatever is
// missing, unknown or of another type is an error that wraps ErrMalformed, so
// that a slip of the pen never passes for a setting.
func decodeDecision(value ast.Value) (engine.Judgement, error) {
	var allow ast.Boolean
	var reasons, limits *ast.Array
	err := fields("decision", value, []string{"allow", "reasons", "limits"}, func(name string, value ast.Value) (ok bool, want string) {
		switch name {
		case "allow":
			allow, ok = value.(ast.Boolean)
			return ok, "a boolean"
		case "reasons":
			reasons, ok = value.(*ast.Array)
			return ok, "an array"
		case "limits":
			limits, ok = value.(*ast.Array)
			return ok, "an array"
		default:
			return false, ""
		}
	})
	if err != nil {
		return engine.Judgement{}, err
	}
	judgement := engine.Judgement{Allow: bool(allow)}
	if judgement.Reasons, err = decodeReasons(reasons); err != nil {
		return engine.Judgement{}, err
	}
	if judgement.Limits, err = decodeLimits(limits); err != nil {
		return engine.Judgement{}, err
	}
	return judgement, nil
}

func decodeReasons(array *ast.Array) ([]engine.Reason, error) {
	if array.Len() > maxReasons {
		return nil, fmt.Errorf("%w: %d reasons: want at most %d", ErrMalformed, array.Len(), maxReasons)
	}
	if array.Len() == 0 {
		return nil, nil
	}
	reasons := make([]engine.Reason, array.Len())
	for i := range reasons {
		reason := &reasons[i]
		err := fields("reason", array.Elem(i).Value, []string{"code", "message"}, func(name string, value ast.Value) (ok bool, want string) {
			s, isString := value.(ast.String)
			switch name {
			case "code":
				reason.Code = string(s)
				return isString && isCode(reason.Code), "1 to 64 lower-case letters, digits and underscores"
			case "message":
				reason.Message = string(s)
				return isString && s != "" && len(s) <= maxMessageBytes && utf8.ValidString(reason.Message), "a string of 1 to 500 bytes"
			default:
				return false, ""
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return reasons, nil
}

func decodeLimits(array *ast.Array) ([]engine.PolicyLimit, error) {
	if array.Len() > maxLimits {
		return nil, fmt.Errorf("%w: %d limits: want at most %d", ErrMalformed, array.Len(), maxLimits)
	}
	if array.Len() == 0 {
		return nil, nil
	}
	limits := make([]engine.PolicyLimit, array.Len())
	for i := range limits {
		if err := decodeLimit(&limits[i], array.Elem(i).Value); err != nil {
			return nil, err
		}
		for _, other := range limits[:i] {
			if other.Name == limits[i].Name && other.Scope == limits[i].Scope {
				return nil, fmt.Errorf("%w: two limits %q of scope %q", ErrMalformed, other.Name, other.Scope)
			}
		}
	}
	return limits, nil
}

func decodeLimit(limit *engine.PolicyLimit, value ast.Value) error {
	required := []string{"name", "limit", "window_seconds", "algorithm", "scope"}
	err := fields("limit", value, required, func(name string, value ast.Value) (ok bool, want string) {
		switch name {
		case "name":
			limit.Name, ok = text(value)
			return ok, "a string"
		case "limit":
			limit.Limit.Limit, ok = whole(value, 0, quota.MaxLimit)
			return ok, "a whole number"
		case "window_seconds":
			var seconds int64
			seconds, ok = whole(value, 1, int64(quota.MaxWindow/time.Second))
			limit.Window = time.Duration(seconds) * time.Second
			return ok, "a whole number of seconds from 1 to 400 days"
		case "algorithm":
			s, isString := text(value)
			limit.Algorithm = quota.Algorithm(s)
			return isString, "a string"
		case "scope":
			s, isString := text(value)
			limit.Scope = engine.LimitScope(s)
			return isString && isLimitScope(limit.Scope), `"key", "environment" or "tenant"`
		case "burst":
			limit.Burst, ok = whole(value, 1, quota.MaxLimit)
			return ok, "a whole number above 0"
		case "cost":
			limit.Cost, ok = whole(value, 1, quota.MaxLimit)
			return ok, "a whole number above 0"
		default:
			return false, ""
		}
	})
	if err != nil {
		return err
	}
	if err := limit.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// fields gives each field of an object to set, which says whether it has taken
// it or what it wants; "" if it knows no field of that name. All required fields
// have to be there.
func fields(what string, value ast.Value, required []string, set func(name string, value ast.Value) (ok bool, want string)) error {
	object, ok := value.(ast.Object)
	if !ok {
		return fmt.Errorf("%w: %s is %s: want an object", ErrMalformed, what, ast.ValueName(value))
	}
	found := 0
	err := object.Iter(func(k, v *ast.Term) error {
		name, _ := k.Value.(ast.String)
		for _, r := range required {
			if string(name) == r {
				found++
			}
		}
		switch ok, want := set(string(name), v.Value); {
		case ok:
			return nil
		case want == "":
			return fmt.Errorf("%w: %s has an unknown field %s", ErrMalformed, what, k)
		default:
			return fmt.Errorf("%w: %s: %s is %s: want %s", ErrMalformed, what, string(name), brief(v), want)
		}
	})
	if err != nil {
		return err
	}
	if found == len(required) {
		return nil
	}
	for _, r := range required {
		if object.Get(ast.StringTerm(r)) == nil {
			return fmt.Errorf("%w: %s without %s", ErrMalformed, what, r)
		}
	}
	return nil
}

// brief prints a value for an error message, which goes to a log.
func brief(term *ast.Term) string {
	const most = 100
	s := term.String()
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// isCode reports whether s can be the code of a reason.
func isCode(s string) bool {
	if s == "" || len(s) > maxCodeBytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// isLimitScope reports whether the scope is one of the engine's.
func isLimitScope(s engine.LimitScope) bool {
	switch s {
	case engine.PerKey, engine.PerTenant, engine.PerEnvironment:
		return true
	default:
		return false
	}
}

// text returns a string value.
func text(value ast.Value) (string, bool) {
	s, ok := value.(ast.String)
	return string(s), ok
}

// whole returns a number from low to high that has no fraction, however Rego
// came to write it: 1000 and 1e3 are the same.
func whole(value ast.Value, low, high int64) (int64, bool) {
	number, ok := value.(ast.Number)
	if !ok {
		return 0, false
	}
	n, ok := number.Int64()
	if !ok {
		f, isFloat := number.Float64()
		// All bounds are below 2^53, up to where a float64 is exact.
		if !isFloat || f != math.Trunc(f) || f < float64(low) || f > float64(high) {
			return 0, false
		}
		n = int64(f)
	}
	return n, low <= n && n <= high
}
