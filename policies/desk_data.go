package policies

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/util"

	"github.com/twyn/twyn/engine"
)

// Bounds of the data documents.
const (
	maxDataBytes = 8 << 20 // of all documents as JSON
	maxDataDepth = 64
)

// Data returns the data documents at a path, the whole for "", as they are
// live. It is engine.ErrNotFound if there is nothing.
func (d *Desk) Data(ctx context.Context, path string) (engine.PolicyData, error) {
	live, err := d.Live(ctx)
	if err != nil {
		return engine.PolicyData{}, err
	}
	data, err := d.store.PolicyData(ctx, live.DataVersion)
	if err != nil {
		return engine.PolicyData{}, err
	}
	root, err := objectOf(data.Documents)
	if err != nil {
		return engine.PolicyData{}, err
	}
	value, ok := documentAt(root, namesIn(path))
	if !ok {
		return engine.PolicyData{}, fmt.Errorf("reading data %s: %w", path, engine.ErrNotFound)
	}
	data.Path = path
	data.Documents, err = json.Marshal(value)
	return data, err
}

// PutData puts a document at a path, in place of what is there, and makes it
// live; the objects above it are made if they are missing. What the live
// policies do not compile with is a *engine.PolicyRefusedError, and changes
// nothing.
func (d *Desk) PutData(ctx context.Context, path string, document json.RawMessage, by string, at time.Time) (engine.PolicyData, error) {
	return d.changeData(ctx, path, document, by, at, func(_, new any) any { return new })
}

// PatchData merges a document into what is at a path (RFC 7396: null removes),
// and makes it live as PutData does.
func (d *Desk) PatchData(ctx context.Context, path string, patch json.RawMessage, by string, at time.Time) (engine.PolicyData, error) {
	return d.changeData(ctx, path, patch, by, at, mergePatch)
}

func (d *Desk) changeData(
	ctx context.Context, path string, document json.RawMessage, by string, at time.Time, combine func(old, new any) any,
) (engine.PolicyData, error) {
	var change any
	if err := util.UnmarshalJSON(document, &change); err != nil {
		return engine.PolicyData{}, refusedData("not JSON: " + err.Error())
	}
	var data engine.PolicyData
	_, err := d.change(ctx, by, at, func(live engine.LivePolicy) (engine.LivePolicy, *engine.PolicyData, error) {
		former, err := d.store.PolicyData(ctx, live.DataVersion)
		if err != nil {
			return live, nil, err
		}
		root, err := objectOf(former.Documents)
		if err != nil {
			return live, nil, err
		}
		next, err := replaced(root, namesIn(path), change, combine)
		if err != nil {
			return live, nil, err
		}
		live.DataVersion = former.Version + 1
		data = engine.PolicyData{Version: live.DataVersion, Path: path, UpdatedAt: at, UpdatedBy: by}
		data.Documents, err = json.Marshal(next)
		if err == nil {
			err = checkDocuments(data.Documents, next)
		}
		return live, &data, err
	})
	if err != nil {
		return engine.PolicyData{}, err
	}
	return d.at(data, path)
}

// at cuts a version of the documents to what is at a path.
func (d *Desk) at(data engine.PolicyData, path string) (engine.PolicyData, error) {
	root, err := objectOf(data.Documents)
	if err != nil {
		return engine.PolicyData{}, err
	}
	value, _ := documentAt(root, namesIn(path))
	data.Documents, err = json.Marshal(value)
	return data, err
}

// checkDocuments holds all documents together to their bounds.
func checkDocuments(text json.RawMessage, root any) error {
	switch {
	case len(text) > maxDataBytes:
		return refusedData(fmt.Sprintf("more than %d bytes of data documents in all", maxDataBytes))
	case depthOf(root, 0) > maxDataDepth:
		return refusedData(fmt.Sprintf("data documents nested more than %d deep", maxDataDepth))
	default:
		return nil
	}
}

// depthOf is how deep a value nests, as far as it matters.
func depthOf(value any, above int) int {
	deepest := above
	if above > maxDataDepth {
		return above
	}
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			deepest = max(deepest, depthOf(v, above+1))
		}
	case []any:
		for _, v := range value {
			deepest = max(deepest, depthOf(v, above+1))
		}
	}
	return deepest
}

// refusedData is the error for data that cannot go live.
func refusedData(why string) error {
	report := newReport("")
	report.Problems = append(report.Problems, engine.PolicyProblem{Kind: engine.ProblemFiles, Message: why})
	return &engine.PolicyRefusedError{Report: *report}
}

// namesIn splits the path of a document.
func namesIn(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func objectOf(text json.RawMessage) (map[string]any, error) {
	root := map[string]any{}
	if err := util.UnmarshalJSON(text, &root); err != nil {
		return nil, fmt.Errorf("reading data documents: %w", err)
	}
	return root, nil
}

// documentAt finds the value at a path.
func documentAt(root map[string]any, names []string) (any, bool) {
	var value any = root
	for _, name := range names {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

// replaced returns root with the value at a path combined with another.
func replaced(root map[string]any, names []string, value any, combine func(old, new any) any) (map[string]any, error) {
	if len(names) == 0 {
		next, ok := combine(root, value).(map[string]any)
		if !ok {
			return nil, refusedData("the data documents together are an object")
		}
		return next, nil
	}
	if names[0] == "" {
		return nil, refusedData("a name in the path is empty")
	}
	next := make(map[string]any, len(root)+1)
	maps.Copy(next, root)
	if len(names) == 1 {
		next[names[0]] = combine(root[names[0]], value)
		return next, nil
	}
	inner, exists := root[names[0]]
	object, ok := inner.(map[string]any)
	if exists && !ok {
		return nil, refusedData(names[0] + " is not an object, so nothing can be put below it")
	}
	var err error
	next[names[0]], err = replaced(object, names[1:], value, combine)
	return next, err
}

// mergePatch is RFC 7396.
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = nil
	}
	merged := make(map[string]any, len(object)+len(changes))
	maps.Copy(merged, object)
	for name, change := range changes {
		if change == nil {
			delete(merged, name)
			continue
		}
		merged[name] = mergePatch(merged[name], change)
	}
	return merged
}

// overlaid returns sources whose data has the documents over it: objects merge,
// everything else takes the place of what the files say.
func (s *sources) overlaid(documents json.RawMessage) (*sources, error) {
	over, err := objectOf(documents)
	if err != nil {
		return nil, err
	}
	if len(over) == 0 {
		return s, nil
	}
	own, problems := s.documents()
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	content, err := json.Marshal(overlay(own, over))
	if err != nil {
		return nil, fmt.Errorf("writing data: %w", err)
	}
	return &sources{modules: s.modules, tests: s.tests, data: []file{{path: dataFile, name: dataFile, content: bytes.TrimSpace(content)}}}, nil
}

// overlay puts one object over another.
func overlay(under, over map[string]any) map[string]any {
	merged := maps.Clone(under)
	for name, value := range over {
		upper, ok1 := value.(map[string]any)
		lower, ok2 := merged[name].(map[string]any)
		if ok1 && ok2 {
			value = overlay(lower, upper)
		}
		merged[name] = value
	}
	return merged
}
