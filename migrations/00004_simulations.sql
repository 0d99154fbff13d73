-- Simulations, as stored resources.

-- +goose Up
CREATE TABLE simulations (
    id          uuid PRIMARY KEY,
    tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants (id),
    environment text NOT NULL CHECK (environment IN ('live', 'test')),
    status      text NOT NULL CHECK (status IN (
        'PENDING', 'PROCESSING_CONFIG', 'COMPLETED_CONFIG', 'PROCESSING_SIMULATION', 'COMPLETED_SIMULATION',
        'PROCESSING_ANALYSIS', 'COMPLETED_ANALYSIS', 'FAILED')),
    title       text NOT NULL CHECK (octet_length(title) <= 1048576),
    prompt      text NOT NULL CHECK (octet_length(prompt) <= 1048576),
    tags        text[] NOT NULL,
    scenario_id uuid,
    metadata    jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
    what_if     jsonb CHECK (jsonb_typeof(what_if) = 'object'),
    trace       jsonb,
    config      jsonb CHECK (jsonb_typeof(config) = 'object'),
    metrics     jsonb,
    analysis    jsonb,
    states      jsonb NOT NULL CHECK (jsonb_typeof(states) = 'array'),
    error_log   text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    -- Deleting a scenario keeps its simulations.
    CONSTRAINT simulations_scenario FOREIGN KEY (scenario_id) REFERENCES scenarios (id) ON DELETE SET NULL,
    -- A simulation points into its own tenant only. Setting just one column
    -- of two to NULL needs PostgreSQL 15, hence two constraints, this one
    -- looking when the first has done its work.
    CONSTRAINT simulations_scenario_of_tenant FOREIGN KEY (tenant_id, scenario_id) REFERENCES scenarios (tenant_id, id)
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX simulations_newest ON simulations (tenant_id, created_at DESC, id DESC);
CREATE INDEX simulations_status ON simulations (tenant_id, status, created_at DESC, id DESC);
CREATE INDEX simulations_in_scenario ON simulations (scenario_id, tenant_id, created_at DESC, id DESC) WHERE scenario_id IS NOT NULL;
-- No index on tags: a containment test is not leakproof, so row-level security
-- would keep it from ever using one.

ALTER TABLE simulations ENABLE ROW LEVEL SECURITY;
ALTER TABLE simulations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON simulations TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON simulations TO twyn_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (status, prompt, scenario_id, config, metrics, analysis, states, error_log, updated_at)
    ON simulations TO twyn_server;
GRANT SELECT (id, tenant_id, environment) ON simulations TO twyn_system;

-- +goose Down
DROP TABLE simulations;
