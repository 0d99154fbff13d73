package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// decisionRow is a row of decisions.
type decisionRow struct {
	TenantID      string    `db:"tenant_id"`
	ID            string    `db:"id"`
	At            time.Time `db:"at"`
	KeyID         string    `db:"key_id"`
	Environment   string    `db:"environment"`
	RequestID     string    `db:"request_id"`
	Method        string    `db:"method"`
	Route         string    `db:"route"`
	Path          string    `db:"path"`
	ResourceType  string    `db:"resource_type"`
	ResourceID    string    `db:"resource_id"`
	ResourceOwner string    `db:"resource_owner"`
	Effect        string    `db:"effect"`
	Reasons       []byte    `db:"reasons"`
	Limits        []byte    `db:"limits"`
	Revision      string    `db:"revision"`
	PluginDigest  string    `db:"plugin_digest"`
	DurationUS    int64     `db:"duration_us"`
	Input         []byte    `db:"input"`
	Masked        []byte    `db:"masked"`
	Omitted       string    `db:"omitted"`
}

// limitDocument is a verdict as it is stored.
type limitDocument struct {
	Name         string    `json:"name"`
	Limit        int64     `json:"limit"`
	WindowNS     int64     `json:"window_ns"`
	Admitted     bool      `json:"admitted"`
	Remaining    int64     `json:"remaining"`
	Reset        time.Time `json:"reset"`
	RetryAfterNS int64     `json:"retry_after_ns"`
}

func (r *decisionRow) record() (engine.DecisionRecord, error) {
	record := engine.DecisionRecord{
		ID: r.ID, At: r.At.UTC(), TenantID: r.TenantID, KeyID: r.KeyID, Environment: engine.Environment(r.Environment),
		RequestID: r.RequestID, Method: r.Method, Route: r.Route, Path: r.Path,
		ResourceType: r.ResourceType, ResourceID: r.ResourceID, ResourceOwner: r.ResourceOwner,
		Effect: engine.Effect(r.Effect), Revision: r.Revision, PluginDigest: r.PluginDigest,
		Duration: time.Duration(r.DurationUS) * time.Microsecond, Input: r.Input, Omitted: r.Omitted,
	}
	var limits []limitDocument
	for _, part := range [...]struct {
		raw []byte
		to  any
	}{{r.Reasons, &record.Reasons}, {r.Limits, &limits}, {r.Masked, &record.Masked}} {
		if err := json.Unmarshal(part.raw, part.to); err != nil {
			return engine.DecisionRecord{}, fmt.Errorf("reading the columns of %s: %w", r.ID, err)
		}
	}
	for _, l := range limits {
		record.Limits = append(record.Limits, quota.Verdict{
			Name: l.Name, Limit: l.Limit, Window: time.Duration(l.WindowNS), Admitted: l.Admitted,
			Remaining: l.Remaining, Reset: l.Reset.UTC(), RetryAfter: time.Duration(l.RetryAfterNS),
		})
	}
	return record, nil
}

// decisionColumns are a batch of records, a column each.
type decisionColumns struct {
	tenant, id, at, key, environment, request, method, route, path  pq.StringArray
	resourceType, resourceID, resourceOwner, effect, codes, reasons pq.StringArray
	limits, revision, plugin, masked, omitted                       pq.StringArray
	input                                                           []*string
	duration                                                        pq.Int64Array
	days                                                            pq.StringArray
}

func columnsOf(batch []engine.DecisionRecord) (*decisionColumns, error) {
	c := new(decisionColumns)
	for i := range batch {
		if err := c.add(&batch[i]); err != nil {
			return nil, fmt.Errorf("writing the columns of %s: %w", batch[i].ID, err)
		}
	}
	return c, nil
}

func (c *decisionColumns) add(r *engine.DecisionRecord) error {
	from, ok := engine.ParseDecisionID(r.ID)
	if !ok {
		return fmt.Errorf("%w: not the id of a decision", engine.ErrRecordRefused)
	}
	if day := from.Format(time.DateOnly); !slices.Contains(c.days, day) {
		c.days = append(c.days, day)
	}
	codes := make([]string, len(r.Reasons))
	for i := range r.Reasons {
		codes[i] = r.Reasons[i].Code
	}
	limits := make([]limitDocument, len(r.Limits))
	for i := range r.Limits {
		v := &r.Limits[i]
		limits[i] = limitDocument{v.Name, v.Limit, int64(v.Window), v.Admitted, v.Remaining, v.Reset.UTC(), int64(v.RetryAfter)}
	}
	for _, part := range [...]struct {
		to   *pq.StringArray
		from any
	}{{&c.reasons, orEmpty(r.Reasons)}, {&c.limits, limits}, {&c.masked, orEmpty(r.Masked)}} {
		raw, err := json.Marshal(part.from)
		if err != nil {
			return err
		}
		*part.to = append(*part.to, string(raw))
	}
	for _, part := range [...]struct {
		to   *pq.StringArray
		from string
	}{
		{&c.tenant, r.TenantID},
		{&c.id, r.ID},
		{&c.at, r.At.UTC().Format(time.RFC3339Nano)},
		{&c.key, r.KeyID},
		{&c.environment, string(r.Environment)},
		{&c.request, r.RequestID},
		{&c.method, r.Method},
		{&c.route, r.Route},
		{&c.path, r.Path},
		{&c.resourceType, r.ResourceType},
		{&c.resourceID, r.ResourceID},
		{&c.resourceOwner, r.ResourceOwner},
		{&c.effect, string(r.Effect)},
		{&c.codes, strings.Join(codes, ",")},
		{&c.revision, r.Revision},
		{&c.plugin, r.PluginDigest},
		{&c.omitted, r.Omitted},
	} {
		*part.to = append(*part.to, part.from)
	}
	c.input = append(c.input, rawJSON(r.Input))
	c.duration = append(c.duration, max(r.Duration.Microseconds(), 0))
	return nil
}

// orEmpty is a list that is written as [] if there is none.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// mostDecisionDays is how many days make_decisions takes.
const mostDecisionDays = 32

const makeDecisions = `SELECT make_decisions($1::date[])`

// A record that is there already is the same record.
const insertDecisions = `
INSERT INTO decisions (tenant_id, id, at, key_id, environment, request_id, method, route, path, resource_type, resource_id,
    resource_owner, effect, codes, reasons, limits, revision, plugin_digest, duration_us, input, masked, omitted)
SELECT tenant_id, id, at, key_id, environment, request_id, method, route, path, resource_type, resource_id,
    resource_owner, effect, string_to_array(codes, ','), reasons::json, limits::json, revision, plugin_digest, duration_us,
    input::json, masked::json, omitted
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
    $19::bigint[], $20::text[], $21::text[], $22::text[])
    AS batch (tenant_id, id, at, key_id, environment, request_id, method, route, path, resource_type, resource_id,
    resource_owner, effect, codes, reasons, limits, revision, plugin_digest, duration_us, input, masked, omitted)
ON CONFLICT (id) DO NOTHING`

// refusedRecord tells a record that PostgreSQL will never take from everything
// else that can go wrong.
func refusedRecord(err error) error {
	var refused *pq.Error
	if errors.As(err, &refused) && (refused.Code.Class() == "22" || refused.Code.Class() == "23") {
		return fmt.Errorf("%w: constraint %q (%s)", engine.ErrRecordRefused, refused.Constraint, refused.Code)
	}
	return err
}

// SaveDecisions writes all records of a batch or none. Writing a record twice
// is harmless. The partitions that the batch needs are made if they are
// missing; a batch that spans more than 32 days is an engine.ErrRecordRefused,
// like one that holds what no row can.
func (s *Store) SaveDecisions(ctx context.Context, batch []engine.DecisionRecord) error {
	if len(batch) == 0 {
		return nil
	}
	c, err := columnsOf(batch)
	if err == nil && len(c.days) > mostDecisionDays {
		err = fmt.Errorf("%w: %d days in a batch", engine.ErrRecordRefused, len(c.days))
	}
	if err == nil {
		err = s.writeSystem(ctx, func(t *tx) error {
			if _, err := t.exec(ctx, makeDecisions, c.days); err != nil {
				return err
			}
			_, err := t.exec(ctx, insertDecisions, c.tenant, c.id, c.at, c.key, c.environment, c.request, c.method, c.route, c.path,
				c.resourceType, c.resourceID, c.resourceOwner, c.effect, c.codes, c.reasons, c.limits, c.revision, c.plugin,
				c.duration, pq.Array(c.input), c.masked, c.omitted)
			return refusedRecord(err)
		})
	}
	if err != nil {
		return fmt.Errorf("saving %d decisions: %w", len(batch), err)
	}
	return nil
}

const selectDecision = `
SELECT tenant_id, id, at, key_id, environment, request_id, method, route, path, resource_type, resource_id, resource_owner,
    effect, reasons, limits, revision, plugin_digest, duration_us, input, masked, omitted
FROM decisions
WHERE tenant_id = $1 AND id = $2`

// Decision returns a record of the tenant's log.
func (s *Store) Decision(ctx context.Context, tenantID, id string) (record engine.DecisionRecord, err error) {
	err = engine.ErrNotFound
	if _, ok := engine.ParseDecisionID(id); ok {
		err = s.read(ctx, tenantID, func(t *tx) error {
			var row decisionRow
			if err := t.one(ctx, &row, selectDecision, tenantID, id); err != nil {
				return err
			}
			record, err = row.record()
			return err
		})
	}
	if err != nil {
		return engine.DecisionRecord{}, fmt.Errorf("reading a decision: %w", err)
	}
	return record, nil
}

// The ids bound the partitions that are looked at.
const selectDecisions = `
SELECT tenant_id, id, at, key_id, environment, request_id, method, route, path, resource_type, resource_id, resource_owner,
    effect, reasons, limits, revision, plugin_digest, duration_us, NULL AS input, masked, omitted
FROM decisions
WHERE tenant_id = $1 AND id >= $2 AND id < $3 AND environment = ANY ($4) AND ($5::text = '' OR key_id = $5)
    AND ($6::text = '' OR effect = $6) AND ($7::text = '' OR $7 = ANY (codes))
    AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY id DESC
LIMIT $10`

// afterAllDecisions sorts after every id of a decision.
const afterAllDecisions = "dec_g"

// Decisions lists records of the tenant's log, newest first, without their
// inputs.
func (s *Store) Decisions(ctx context.Context, tenantID string, filter engine.DecisionFilter) (records []engine.DecisionRecord, err error) {
	from, to := engine.DecisionIDsFrom(filter.Since), afterAllDecisions
	if !filter.Until.IsZero() {
		to = engine.DecisionIDsFrom(filter.Until.Add(time.Millisecond))
	}
	if filter.Before != "" {
		to = min(to, filter.Before)
	}
	visible := filter.Environments
	if slices.Contains(visible, engine.Live) {
		visible = append(slices.Clone(visible), "")
	}
	err = s.read(ctx, tenantID, func(t *tx) error {
		var rows []decisionRow
		if err := t.all(ctx, &rows, selectDecisions, tenantID, from, to, names(visible), filter.KeyID, string(filter.Effect),
			filter.Reason, null(filter.Since), null(filter.Until), max(filter.Limit, 0)); err != nil {
			return err
		}
		records, err = convert(rows, (*decisionRow).record)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing decisions: %w", err)
	}
	return records, nil
}

const dropDecisions = `SELECT drop_decisions($1::date)`

// decisionsAhead is for how many days partitions are made before they begin.
const decisionsAhead = 2

// KeepDecisions makes the partitions of the days to come and drops those of
// days that ended longer than retention ago. It is for housekeeping.
func (s *Store) KeepDecisions(ctx context.Context, at time.Time, retention time.Duration) error {
	at = at.UTC()
	var days pq.StringArray
	for i := range decisionsAhead + 1 {
		days = append(days, at.AddDate(0, 0, i).Format(time.DateOnly))
	}
	// Two transactions, so that a reader who delays the one does not undo
	// the other.
	err := s.writeSystem(ctx, func(t *tx) error {
		_, err := t.exec(ctx, makeDecisions, days)
		return err
	})
	if err != nil {
		return fmt.Errorf("making the partitions of the decision log: %w", err)
	}
	err = s.writeSystem(ctx, func(t *tx) error {
		_, err := t.exec(ctx, dropDecisions, at.Add(-retention).Format(time.DateOnly))
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping old partitions of the decision log: %w", err)
	}
	return nil
}
