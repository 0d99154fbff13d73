package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twyn/twyn/engine"
)

// dataVersions is how many versions of the data documents are kept.
const dataVersions = 200

// revisionRow is a row of policies.
type revisionRow struct {
	ID          string           `db:"id"`
	Status      string           `db:"status"`
	Files       json.RawMessage  `db:"files"`
	Data        *json.RawMessage `db:"data"`
	Message     string           `db:"message"`
	Report      json.RawMessage  `db:"report"`
	CreatedAt   time.Time        `db:"created_at"`
	CreatedBy   string           `db:"created_by"`
	ActivatedAt *time.Time       `db:"activated_at"`
}

func (r *revisionRow) revision() (engine.PolicyRevision, error) {
	revision := engine.PolicyRevision{
		ID: r.ID, Status: engine.PolicyStatus(r.Status), Message: r.Message,
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, ActivatedAt: utc(r.ActivatedAt),
	}
	if r.Data != nil {
		revision.Data = *r.Data
	}
	if len(r.Files) > 0 {
		if err := json.Unmarshal(r.Files, &revision.Files); err != nil {
			return engine.PolicyRevision{}, fmt.Errorf("reading the files of %s: %w", r.ID, err)
		}
	}
	if err := json.Unmarshal(r.Report, &revision.Report); err != nil {
		return engine.PolicyRevision{}, fmt.Errorf("reading the report on %s: %w", r.ID, err)
	}
	return revision, nil
}

const insertPolicy = `
INSERT INTO policies (id, files, data, message, report, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)`

// CreatePolicyRevision stores a revision as a candidate.
func (s *Store) CreatePolicyRevision(ctx context.Context, r engine.PolicyRevision) error {
	files, err := json.Marshal(r.Files)
	if err != nil {
		return fmt.Errorf("storing a policy revision: %w", err)
	}
	report, err := json.Marshal(r.Report)
	if err != nil {
		return fmt.Errorf("storing a policy revision: %w", err)
	}
	err = s.writeSystem(ctx, func(t *tx) error {
		_, err := t.exec(ctx, insertPolicy, r.ID, string(files), rawJSON(r.Data), r.Message, string(report), r.CreatedAt, r.CreatedBy)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing a policy revision: %w", err)
	}
	return nil
}

const selectPolicy = `
SELECT p.id, p.files, p.data, p.message, p.report, p.created_at, p.created_by, p.activated_at,
	CASE WHEN p.id = l.revision THEN 'active' WHEN p.activated_at IS NULL THEN 'candidate' ELSE 'retired' END AS status
FROM policies p, policy_live l
WHERE p.id = $1`

// PolicyRevision returns a revision with its files.
func (s *Store) PolicyRevision(ctx context.Context, id string) (revision engine.PolicyRevision, err error) {
	if !wellFormedName(id, "rev_") {
		return revision, fmt.Errorf("reading a policy revision: %w", engine.ErrNotFound)
	}
	err = s.readSystem(ctx, func(t *tx) error {
		var row revisionRow
		if err := t.one(ctx, &row, selectPolicy, id); err != nil {
			return err
		}
		revision, err = row.revision()
		return err
	})
	if err != nil {
		return engine.PolicyRevision{}, fmt.Errorf("reading a policy revision: %w", err)
	}
	return revision, nil
}

const selectPolicies = `
SELECT p.id, p.message, p.report, p.created_at, p.created_by, p.activated_at,
	CASE WHEN p.id = l.revision THEN 'active' WHEN p.activated_at IS NULL THEN 'candidate' ELSE 'retired' END AS status
FROM policies p, policy_live l
ORDER BY p.created_at DESC, p.id DESC
LIMIT $1 OFFSET $2`

const countPolicies = `
SELECT count(*)
FROM policies`

// PolicyRevisions lists revisions without their files, newest first, and counts
// them all.
func (s *Store) PolicyRevisions(ctx context.Context, page engine.Page) (revisions []engine.PolicyRevision, total int, err error) {
	limit, offset := window(page)
	err = s.listSystem(ctx, func(t *tx) error {
		var rows []revisionRow
		if err := t.all(ctx, &rows, selectPolicies, limit, offset); err != nil {
			return err
		}
		if err := t.one(ctx, &total, countPolicies); err != nil {
			return err
		}
		revisions, err = convert(rows, (*revisionRow).revision)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing policy revisions: %w", err)
	}
	return revisions, total, nil
}

// liveRow is the row of policy_live.
type liveRow struct {
	Revision    *string   `db:"revision"`
	Previous    *string   `db:"previous"`
	DataVersion int64     `db:"data_version"`
	Generation  int64     `db:"generation"`
	ChangedAt   time.Time `db:"changed_at"`
	ChangedBy   string    `db:"changed_by"`
}

func (r *liveRow) live() engine.LivePolicy {
	live := engine.LivePolicy{
		DataVersion: r.DataVersion, Generation: r.Generation, ChangedAt: r.ChangedAt.UTC(), ChangedBy: r.ChangedBy,
	}
	if r.Revision != nil {
		live.Revision = *r.Revision
	}
	if r.Previous != nil {
		live.Previous = *r.Previous
	}
	return live
}

const selectLivePolicy = `
SELECT revision, previous, data_version, generation, changed_at, changed_by
FROM policy_live`

// LivePolicy says what is live.
func (s *Store) LivePolicy(ctx context.Context) (live engine.LivePolicy, err error) {
	err = s.readSystem(ctx, func(t *tx) error {
		var row liveRow
		err := t.one(ctx, &row, selectLivePolicy)
		live = row.live()
		return err
	})
	if err != nil {
		return engine.LivePolicy{}, fmt.Errorf("reading what policy is live: %w", err)
	}
	return live, nil
}

// dataRow is a row of policy_data.
type dataRow struct {
	Version   int64           `db:"version"`
	Documents json.RawMessage `db:"documents"`
	Path      string          `db:"path"`
	CreatedAt time.Time       `db:"created_at"`
	CreatedBy string          `db:"created_by"`
}

const selectPolicyData = `
SELECT version, documents, path, created_at, created_by
FROM policy_data
WHERE version = $1`

// PolicyData returns a version of the data documents. Version 0 is an empty
// object; an old version may be engine.ErrNotFound, because not all are kept.
func (s *Store) PolicyData(ctx context.Context, version int64) (data engine.PolicyData, err error) {
	if version == 0 {
		return engine.PolicyData{Documents: json.RawMessage(`{}`)}, nil
	}
	err = s.readSystem(ctx, func(t *tx) error {
		var row dataRow
		err := t.one(ctx, &row, selectPolicyData, version)
		data = engine.PolicyData{
			Version: row.Version, Documents: row.Documents, Path: row.Path, UpdatedAt: row.CreatedAt.UTC(), UpdatedBy: row.CreatedBy,
		}
		return err
	})
	if err != nil {
		return engine.PolicyData{}, fmt.Errorf("reading policy data: %w", err)
	}
	return data, nil
}
