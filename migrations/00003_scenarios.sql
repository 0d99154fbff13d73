-- Scenarios, the folders of simulations.

-- +goose Up
CREATE TABLE scenarios (
    id          uuid PRIMARY KEY,
    tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants (id),
    environment text NOT NULL CHECK (environment IN ('live', 'test')),
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 1000),
    description text NOT NULL CHECK (octet_length(description) <= 1048576),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, id)
);
CREATE INDEX scenarios_newest ON scenarios (tenant_id, created_at DESC, id DESC);

ALTER TABLE scenarios ENABLE ROW LEVEL SECURITY;
ALTER TABLE scenarios FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON scenarios TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON scenarios TO twyn_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (name, description, updated_at) ON scenarios TO twyn_server;
GRANT SELECT (id, tenant_id, environment) ON scenarios TO twyn_system;

-- +goose Down
DROP TABLE scenarios;
