package policies

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/twyn/twyn/engine"
)

// Evaluate asks a revision about an input, with the data documents that are
// live.
func (d *Desk) Evaluate(ctx context.Context, id string, input *engine.Input, explain bool) (engine.PolicyEvaluation, error) {
	live, err := d.store.LivePolicy(ctx)
	if err != nil {
		return engine.PolicyEvaluation{}, err
	}
	set, err := d.load(ctx, id, live.DataVersion)
	if err != nil {
		return engine.PolicyEvaluation{}, refusal(err)
	}
	var evaluation engine.PolicyEvaluation
	evaluation.Judgement, err = set.JudgeInput(ctx, input)
	if err != nil {
		if ctx.Err() != nil {
			return engine.PolicyEvaluation{}, ctx.Err()
		}
		evaluation.Error = err.Error()
	}
	if explain && err == nil {
		if evaluation.Explanations, err = Explain(ctx, set, input); err != nil {
			return engine.PolicyEvaluation{}, err
		}
	}
	return evaluation, nil
}

// Explain says why the revision of that name, as decisions call it, decides as
// it does on the document of an input. It is engine.ErrNotFound if its policies,
// or the data it had, are not known any more.
func (d *Desk) Explain(ctx context.Context, name string, input json.RawMessage) ([]engine.Explanation, error) {
	asked, err := DecodeInput(input)
	if err != nil {
		return nil, err
	}
	set, err := d.named(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("finding revision %s: %w", name, err)
	}
	return Explain(ctx, set, asked)
}

// named returns the set that decisions call by a name.
func (d *Desk) named(ctx context.Context, name string) (*Set, error) {
	if live := d.live.Live(); live.Revision() == name {
		return live, nil
	}
	revision, version, _ := strings.Cut(name, "+")
	dataVersion, err := strconv.ParseInt(version, 10, 64)
	if err != nil && version != "" {
		return nil, engine.ErrNotFound
	}
	if strings.HasPrefix(revision, "rev_") {
		return d.load(ctx, revision, dataVersion)
	}
	set, err := d.load(ctx, "", dataVersion)
	if err == nil && set.Revision() != name {
		return nil, engine.ErrNotFound
	}
	return set, err
}

// DecodeInput reads the document of an input. What it does not know is an
// error, so that a typo is not taken for something absent.
func DecodeInput(text json.RawMessage) (*engine.Input, error) {
	var input engine.Input
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(&input); err != nil {
		return nil, fmt.Errorf("reading an input: %w", err)
	}
	return &input, nil
}
