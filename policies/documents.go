package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/util"
)

// documents merges the data files into one document, each under the path of
// its directory.
func (s *sources) documents() (map[string]any, []Problem) {
	root := map[string]any{}
	var problems []Problem
	for _, f := range s.data {
		doc, err := parseDocument(f)
		if err != nil {
			problem := Problem{File: f.name, Message: "not an object of data: " + err.Error()}
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				problem.Row, problem.Col = position(f.content, syntax.Offset)
			}
			problems = append(problems, problem)
			continue
		}
		if dir := path.Dir(f.path); dir != "." {
			parts := strings.Split(dir, "/")
			for _, part := range slices.Backward(parts) {
				doc = map[string]any{part: doc}
			}
		}
		if place, ok := merge(root, doc, "data"); !ok {
			problems = append(problems, Problem{File: f.name, Message: "another file has a value for " + place})
		}
	}
	return root, problems
}

// parseDocument reads a data file as JSON or YAML by its name.
func parseDocument(f file) (map[string]any, error) {
	var doc map[string]any
	if path.Ext(f.path) != ".json" {
		return doc, util.Unmarshal(f.content, &doc)
	}
	return doc, util.UnmarshalJSON(f.content, &doc)
}

// position returns row and column of the byte before offset, counting from 1.
func position(content []byte, offset int64) (row, col int) {
	before := content[:max(0, min(offset-1, int64(len(content))))]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// merge adds src to dst. If both have a value at the same place, it says where.
func merge(dst, src map[string]any, at string) (conflict string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(src)) {
		place := at + "." + name
		old, exists := dst[name]
		if !exists {
			dst[name] = src[name]
			continue
		}
		oldObject, ok1 := old.(map[string]any)
		newObject, ok2 := src[name].(map[string]any)
		if !ok1 || !ok2 {
			return place, false
		}
		if conflict, ok := merge(oldObject, newObject, place); !ok {
			return conflict, false
		}
	}
	return "", true
}
