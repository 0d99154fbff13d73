package policies_test

import (
	"context"

	"github.com/twyn/twyn/engine"
)

// oneKey is a store of one key and no resources.
type oneKey struct{ identity engine.Identity }

var (
	_ engine.Keys      = oneKey{}
	_ engine.Resources = oneKey{}
)

func (o oneKey) FindKey(_ context.Context, digest engine.Digest) (*engine.Identity, error) {
	if digest != o.identity.Digest {
		return nil, engine.ErrNotFound
	}
	identity := o.identity
	return &identity, nil
}

func (oneKey) FindResource(context.Context, engine.Target) (engine.Resource, error) {
	return engine.Resource{}, engine.ErrNotFound
}
