package postgres

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
)

// policyChannel is where the database tells that another policy is live.
const policyChannel = "twyn_policy"

const updateLivePolicy = `
UPDATE policy_live
SET revision = NULLIF($1, ''), previous = NULLIF($2, ''), data_version = $3, generation = $4, changed_at = $5, changed_by = $6
WHERE generation = $4 - 1`

const updatePolicyActivated = `
UPDATE policies
SET activated_at = $2
WHERE id = $1`

const insertPolicyData = `
INSERT INTO policy_data (version, documents, path, created_at, created_by)
VALUES ($1, $2, $3, $4, $5)`

const deleteOldPolicyData = `
DELETE FROM policy_data
WHERE version <= $1`

// ChangeLivePolicy makes something else live, together with a new version of
// the data documents if data is not nil. It is engine.ErrConflict if the
// generation of to is not the one that follows the present.
func (s *Store) ChangeLivePolicy(ctx context.Context, to engine.LivePolicy, data *engine.PolicyData) error {
	err := s.writeSystem(ctx, func(t *tx) error {
		n, err := t.exec(ctx, updateLivePolicy, to.Revision, to.Previous, to.DataVersion, to.Generation, to.ChangedAt, to.ChangedBy)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: another change came before", engine.ErrConflict)
		}
		if data != nil {
			return t.addPolicyData(ctx, data)
		}
		if to.Revision == "" {
			return nil
		}
		return t.execOne(ctx, updatePolicyActivated, to.Revision, to.ChangedAt)
	})
	if err != nil {
		return fmt.Errorf("changing what policy is live: %w", err)
	}
	return nil
}

func (t *tx) addPolicyData(ctx context.Context, data *engine.PolicyData) error {
	if _, err := t.exec(ctx, insertPolicyData, data.Version, string(data.Documents), data.Path, data.UpdatedAt, data.UpdatedBy); err != nil {
		return err
	}
	_, err := t.exec(ctx, deleteOldPolicyData, data.Version-dataVersions)
	return err
}

// ListenPolicy calls onChange whenever something else may be live, whoever
// changed it, until ctx ends; then it returns nil. What was told while there was
// no connection is lost, so it calls onChange after every connection too, the
// first one included.
func (s *Store) ListenPolicy(ctx context.Context, onChange func()) error {
	return s.listen(ctx, policyChannel, func(*pq.Notification) { onChange() })
}
