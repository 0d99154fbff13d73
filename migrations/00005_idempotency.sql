-- The first answers to requests with an Idempotency-Key, until they expire.

-- +goose Up
CREATE TABLE idempotency (
    tenant_id   text COLLATE "C" NOT NULL REFERENCES tenants (id),
    environment text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test')),
    route       text COLLATE "C" NOT NULL CHECK (octet_length(route) BETWEEN 1 AND 256),
    key         text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 1024),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    status      int NOT NULL CHECK (status BETWEEN 100 AND 599),
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, environment, route, key)
);
CREATE INDEX idempotency_expired ON idempotency (expires_at);

ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON idempotency TO twyn_system USING (true);
GRANT SELECT, INSERT, UPDATE (fingerprint, status, body, created_at, expires_at) ON idempotency TO twyn_server;
GRANT SELECT (tenant_id, environment, route, key, expires_at), DELETE ON idempotency TO twyn_system;

-- +goose Down
DROP TABLE idempotency;
