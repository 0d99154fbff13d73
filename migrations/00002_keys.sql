-- API keys and their secrets. A key has one secret that lasts as long as the
-- key, and for the grace of each rotation an older one that ends.

-- +goose Up
CREATE TABLE keys (
    id           text COLLATE "C" PRIMARY KEY CHECK (id ~ '^key_[a-z0-9]{24}$'),
    tenant_id    text COLLATE "C" NOT NULL REFERENCES tenants (id),
    name         text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    environment  text NOT NULL CHECK (environment IN ('live', 'test')),
    active       boolean NOT NULL,
    rate_limit   bigint NOT NULL CHECK (rate_limit BETWEEN 1 AND 1000000),
    scopes       text[] NOT NULL,
    metadata     jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    usage_count  bigint NOT NULL DEFAULT 0 CHECK (usage_count >= 0),
    UNIQUE (tenant_id, id)
) WITH (fillfactor = 80); -- Room for usage to be updated in place.
CREATE INDEX keys_newest ON keys (tenant_id, created_at DESC, id DESC);

CREATE TABLE secrets (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    tenant_id  text COLLATE "C" NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    ends_at    timestamptz, -- NULL: with the key
    FOREIGN KEY (tenant_id, key_id) REFERENCES keys (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX secrets_key ON secrets (tenant_id, key_id);
CREATE INDEX secrets_ended ON secrets (ends_at) WHERE ends_at IS NOT NULL;

ALTER TABLE keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON keys TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON keys TO twyn_system USING (true);
GRANT SELECT, INSERT, DELETE, UPDATE (name, active, rate_limit, scopes, metadata, expires_at) ON keys TO twyn_server;
GRANT SELECT, UPDATE (usage_count, last_used_at) ON keys TO twyn_system;

-- twyn_server writes digests and never reads them, of its own tenant either.
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON secrets TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON secrets TO twyn_system USING (true);
GRANT SELECT (tenant_id, key_id, ends_at), INSERT, UPDATE (ends_at) ON secrets TO twyn_server;
GRANT SELECT (digest, tenant_id, key_id, ends_at), DELETE ON secrets TO twyn_system;

-- +goose StatementBegin
CREATE FUNCTION notify_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('twyn_revoked', 'key:' || OLD.tenant_id || ':' || OLD.id);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION notify_secret() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('twyn_revoked', 'key:' || OLD.tenant_id || ':' || OLD.key_id);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION notify_key(), notify_secret() FROM PUBLIC;

-- Usage is no part of these: it changes all the time and revokes nothing.
CREATE TRIGGER key_changed
    AFTER UPDATE OF id, tenant_id, name, environment, active, rate_limit, scopes, metadata, created_at, expires_at
    ON keys FOR EACH ROW
    WHEN (ROW(OLD.id, OLD.tenant_id, OLD.name, OLD.environment, OLD.active, OLD.rate_limit, OLD.scopes, OLD.metadata, OLD.created_at, OLD.expires_at)
        IS DISTINCT FROM
        ROW(NEW.id, NEW.tenant_id, NEW.name, NEW.environment, NEW.active, NEW.rate_limit, NEW.scopes, NEW.metadata, NEW.created_at, NEW.expires_at))
    EXECUTE FUNCTION notify_key();
CREATE TRIGGER key_deleted AFTER DELETE ON keys FOR EACH ROW EXECUTE FUNCTION notify_key();
CREATE TRIGGER secret_changed AFTER UPDATE ON secrets FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION notify_secret();
CREATE TRIGGER secret_deleted AFTER DELETE ON secrets FOR EACH ROW EXECUTE FUNCTION notify_secret();

-- +goose Down
DROP TABLE secrets;
DROP TABLE keys;
DROP FUNCTION notify_key();
DROP FUNCTION notify_secret();
