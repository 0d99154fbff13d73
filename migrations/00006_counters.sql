-- The state of limits. Counters are written in batches across tenants, so
-- they are the system's; no tenant's statement ever reads them.

-- +goose Up
CREATE TABLE counters (
    tenant_id  text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    algorithm  text COLLATE "C" NOT NULL,
    window_ns  bigint NOT NULL CHECK (window_ns > 0),
    state      bytea NOT NULL CHECK (octet_length(state) <= 1048576),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject, name, algorithm, window_ns)
    -- Room for updates in place. There is no index on expires_at because it
    -- would forbid them: nearly every update moves it, and only housekeeping
    -- would use it.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

ALTER TABLE counters ENABLE ROW LEVEL SECURITY;
ALTER TABLE counters FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON counters TO twyn_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (state, expires_at) ON counters TO twyn_system;

-- +goose Down
DROP TABLE counters;
