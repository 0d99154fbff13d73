-- The roles of the server, and tenants.
--
-- twyn_server works for one tenant at a time: it sees the rows whose tenant_id
-- is the setting twyn.tenant, which every transaction sets for itself.
-- twyn_system serves the few statements that look across tenants; its rights
-- are granted by column.

-- +goose Up
-- +goose StatementBegin
-- Roles belong to the cluster, and other databases may be migrated at this
-- very moment, so whatever another session has just done is taken as done.
DO $$
DECLARE
    version constant int := current_setting('server_version_num')::int;
    wanted text;
    usable boolean;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['twyn_server', 'twyn_system'] LOOP
        FOR attempt IN 1..100 LOOP
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
                END IF;
                -- From 16 on, having created a role does not mean being
                -- allowed to become it.
                IF version >= 160000 THEN
                    usable := pg_catalog.pg_has_role(current_user, wanted, 'SET');
                ELSE
                    usable := pg_catalog.pg_has_role(current_user, wanted, 'MEMBER');
                END IF;
                IF NOT usable THEN
                    IF version >= 160000 THEN
                        EXECUTE format('GRANT %I TO %I WITH SET TRUE, INHERIT FALSE', wanted, current_user);
                    ELSE
                        EXECUTE format('GRANT %I TO %I', wanted, current_user);
                    END IF;
                END IF;
                EXIT;
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    IF attempt = 100 THEN
                        RAISE;
                    END IF;
                WHEN internal_error THEN
                    -- "tuple concurrently updated": another session granted
                    -- the same role.
                    IF attempt = 100 OR SQLERRM NOT LIKE 'tuple concurrently %' THEN
                        RAISE;
                    END IF;
                    PERFORM pg_catalog.pg_sleep(0.01);
            END;
        END LOOP;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Before PostgreSQL 15 the schema belongs to the superuser, and only the
-- superuser can do this; there it is a warning that says so.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO twyn_server, twyn_system;

CREATE TABLE tenants (
    id         text COLLATE "C" PRIMARY KEY CHECK (id = 'platform' OR id ~ '^ten_[a-z0-9]{24}$'),
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 1000),
    active     boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX tenants_newest ON tenants (created_at DESC, id DESC);

-- The tenant of the operators has been there from the beginning of time, so
-- that it is the last of every list and no clock is asked.
INSERT INTO tenants (id, name, active, created_at) VALUES ('platform', 'Platform', true, '1970-01-01 00:00:00+00');

-- Only operators' statements read tenants; twyn_server has no right to them.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON tenants TO twyn_system USING (true);
GRANT SELECT, INSERT, UPDATE (active) ON tenants TO twyn_system;

-- A change of what servers keep in memory is told on the channel twyn_revoked:
-- tenant:<tenant id> or key:<tenant id>:<key id>.
-- +goose StatementBegin
CREATE FUNCTION notify_tenant() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('twyn_revoked', 'tenant:' || OLD.id);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION notify_tenant() FROM PUBLIC;
CREATE TRIGGER tenant_changed AFTER UPDATE OF name, active ON tenants FOR EACH ROW
    WHEN (ROW(OLD.name, OLD.active) IS DISTINCT FROM ROW(NEW.name, NEW.active))
    EXECUTE FUNCTION notify_tenant();
CREATE TRIGGER tenant_deleted AFTER DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION notify_tenant();

-- +goose Down
DROP TABLE tenants;
DROP FUNCTION notify_tenant();
REVOKE USAGE ON SCHEMA public FROM twyn_server, twyn_system;
