package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/twyn/twyn/engine"
)

const (
	// maxInput is the largest input that is kept, as JSON. The listener
	// bounds a request's head to 16 KiB and the API a key's metadata to 16
	// KiB more.
	maxInput = 256 << 10
	// These bound everything else, so that a record always fits a frame.
	maxText    = 16 << 10 // a text that a client can make long
	maxMessage = 4 << 10
	maxReasons = 32
	maxLimits  = 64
	maxMasked  = 256
	// maskTimeout ends masks that take too long.
	maskTimeout = time.Second
)

// Masker takes away from records what must not be kept. It is asked off the
// path of requests.
type Masker interface {
	// Masks reports whether there are masks at all.
	Masks() bool
	// Mask returns the record as it may be kept. A record has the shape of
	// OPA's decision log: "input" and "result" can be masked; what was, is
	// named in "erased" and "masked". It may change the record it is given.
	// After an error the input is not kept.
	Mask(ctx context.Context, record map[string]any) (map[string]any, error)
}

// credentials are API keys in the default format. A client that sends its key
// where none belongs, in a query say, must not find it in the log.
var credentials = regexp.MustCompile(`twyn_(?:live|test)_[0-9a-fA-F]{64}`)

const redacted = "[redacted]"

// clean is a client's text as it may be kept.
func clean(s string) string { return cleanTo(s, maxText) }

func cleanTo(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if strings.Contains(s, "twyn_") {
		s = credentials.ReplaceAllLiteralString(s, redacted)
	}
	return s
}

func cleanReason(r engine.Reason) engine.Reason {
	// Codes are kept in a list with commas between.
	return engine.Reason{Code: strings.ReplaceAll(cleanTo(r.Code, maxMessage), ",", "_"), Message: cleanTo(r.Message, maxMessage)}
}

// builder turns entries into records.
type builder struct {
	masker Masker
	buffer bytes.Buffer
}

// record is what is kept of an entry. failed tells of a mask that could not be
// applied.
func (b *builder) record(e *entry) (record engine.DecisionRecord, failed error) {
	r, d := &e.request, &e.decision
	record = engine.DecisionRecord{
		ID: d.ID, At: d.At.UTC(), TenantID: engine.PlatformTenantID, RequestID: clean(r.ID), Method: clean(r.Method),
		Route: clean(r.Route), Path: clean(r.Path), ResourceType: clean(r.Target.Type), ResourceID: clean(r.Target.ID),
		Effect: d.Effect, Limits: d.Limits[:min(len(d.Limits), maxLimits)], Revision: clean(d.Revision), Duration: e.duration,
	}
	for _, reason := range d.Reasons[:min(len(d.Reasons), maxReasons)] {
		record.Reasons = append(record.Reasons, cleanReason(reason))
	}
	if p := d.Principal; p != nil {
		record.TenantID, record.KeyID, record.Environment = p.Tenant.ID, p.Key.ID, p.Key.Environment
	}
	if d.Resource != nil {
		record.ResourceOwner = d.Resource.TenantID
	}
	b.input(&record, r, d)
	if b.masker == nil || !b.masker.Masks() {
		return record, nil
	}
	if failed = b.mask(&record); failed != nil {
		record.Path, record.RequestID, record.ResourceID = "", "", ""
		record.Input, record.Masked, record.Omitted = nil, nil, engine.OmittedMaskFailed
		for i := range record.Reasons {
			record.Reasons[i].Message = ""
		}
	}
	return record, failed
}

// input writes what the policy was asked with. Of nobody there is only the
// request.
func (b *builder) input(record *engine.DecisionRecord, r *engine.Request, d *engine.Decision) {
	var document any
	if d.Principal != nil {
		document = engine.Question{Request: r, Principal: d.Principal, Resource: d.Resource}.Input()
	} else {
		nobody := engine.Principal{Key: &engine.Key{}, Tenant: &engine.Tenant{}}
		document = struct {
			Request engine.InputRequest `json:"request"`
		}{engine.Question{Request: r, Principal: &nobody}.Input().Request}
	}
	b.buffer.Reset()
	encoder := json.NewEncoder(&b.buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil || b.buffer.Len() > maxInput {
		record.Omitted = engine.OmittedTooLarge
		return
	}
	raw := bytes.TrimSpace(b.buffer.Bytes())
	if bytes.Contains(raw, []byte("twyn_")) {
		raw = credentials.ReplaceAllLiteral(raw, []byte(redacted))
	}
	record.Input = bytes.Clone(raw)
}

// mask applies the masks. The fields that repeat what can be masked follow it.
func (b *builder) mask(record *engine.DecisionRecord) error {
	document, err := maskable(record)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maskTimeout)
	defer cancel()
	if document, err = b.masker.Mask(ctx, document); err != nil {
		return fmt.Errorf("masking: %w", err)
	}
	for _, list := range [...]string{"erased", "masked"} {
		names, _ := document[list].([]any)
		for _, name := range names {
			if text, ok := name.(string); ok {
				record.Masked = append(record.Masked, cleanTo(text, maxMessage/4))
			}
		}
	}
	if len(record.Masked) == 0 {
		return nil
	}
	if len(record.Masked) > maxMasked {
		return fmt.Errorf("masking: %d places: want at most %d", len(record.Masked), maxMasked)
	}
	record.Input = nil
	if input := document["input"]; input != nil {
		if record.Input, err = json.Marshal(input); err != nil {
			return fmt.Errorf("writing a masked input: %w", err)
		}
		if len(record.Input) > maxInput {
			return fmt.Errorf("masking: the masked input has %d bytes: want at most %d", len(record.Input), maxInput)
		}
	}
	record.Path = within(document, "input", "request", "path")
	record.RequestID = within(document, "input", "request", "id")
	record.Method = within(document, "input", "request", "method")
	record.Route = within(document, "input", "request", "route")
	if record.ResourceOwner != "" {
		record.ResourceID = within(document, "input", "resource", "id")
		record.ResourceOwner = within(document, "input", "resource", "tenant_id")
	} else if record.Path == "" {
		record.ResourceID = "" // it is part of the path
	}
	maskResult(record, document)
	return nil
}

// maskResult takes the reasons from a masked record, and its limits away if a
// mask has touched them.
func maskResult(record *engine.DecisionRecord, document map[string]any) {
	for _, place := range record.Masked {
		if place == "/result" || strings.HasPrefix(place, "/result/limits") {
			record.Limits = nil
		}
	}
	result, _ := document["result"].(map[string]any)
	reasons, _ := result["reasons"].([]any)
	record.Reasons = nil
	for _, reason := range reasons[:min(len(reasons), maxReasons)] {
		record.Reasons = append(record.Reasons, cleanReason(engine.Reason{
			Code: within(reason, "code"), Message: within(reason, "message"),
		}))
	}
}

// maskable is a record in the shape of OPA's decision log.
func maskable(record *engine.DecisionRecord) (map[string]any, error) {
	var input any
	if record.Input != nil {
		decoder := json.NewDecoder(bytes.NewReader(record.Input))
		decoder.UseNumber()
		if err := decoder.Decode(&input); err != nil {
			return nil, fmt.Errorf("reading the input to mask: %w", err)
		}
	}
	reasons, limits := make([]any, len(record.Reasons)), make([]any, len(record.Limits))
	for i := range record.Reasons {
		reasons[i] = map[string]any{"code": record.Reasons[i].Code, "message": record.Reasons[i].Message}
	}
	for i := range record.Limits {
		v := &record.Limits[i]
		limits[i] = map[string]any{
			"name": v.Name, "limit": json.Number(fmt.Sprint(v.Limit)), "remaining": json.Number(fmt.Sprint(v.Remaining)),
			"window_seconds": json.Number(fmt.Sprint(int64(v.Window / time.Second))), "admitted": v.Admitted,
		}
	}
	return map[string]any{
		"decision_id": record.ID, "timestamp": record.At.Format(time.RFC3339Nano), "path": "twyn/decision",
		"revision": record.Revision, "input": input,
		"result": map[string]any{
			"allow": record.Effect == engine.Allow, "effect": string(record.Effect), "reasons": reasons, "limits": limits,
		},
		"labels": map[string]any{
			"tenant_id": record.TenantID, "key_id": record.KeyID, "environment": string(record.Environment),
		},
	}, nil
}

// within follows names into a document to a text; "" if there is none.
func within(document any, names ...string) string {
	for _, name := range names {
		object, ok := document.(map[string]any)
		if !ok {
			return ""
		}
		document = object[name]
	}
	text, _ := document.(string)
	return text
}
