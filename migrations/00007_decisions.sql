-- The decision log. Ids begin with their time, so a table that is partitioned
-- by ranges of ids is partitioned by day, an id leads to its partition, and the
-- primary key makes writing a record twice harmless.
--
-- The server's roles own nothing, so they can neither make nor drop a
-- partition. Two functions do it for them, as the role that migrates.

-- +goose Up
CREATE TABLE decisions (
    -- Of nobody in particular: the platform's, without a key.
    tenant_id      text COLLATE "C" NOT NULL,
    id             text COLLATE "C" PRIMARY KEY CHECK (id ~ '^dec_[0-9a-f]{28}$'),
    at             timestamptz NOT NULL,
    key_id         text COLLATE "C" NOT NULL,
    environment    text COLLATE "C" NOT NULL CHECK (environment IN ('live', 'test', '')),
    request_id     text NOT NULL,
    method         text NOT NULL,
    route          text NOT NULL,
    path           text NOT NULL,
    resource_type  text NOT NULL,
    resource_id    text NOT NULL,
    resource_owner text NOT NULL,
    effect         text COLLATE "C" NOT NULL CHECK (effect IN ('allow', 'unauthenticated', 'deny', 'throttle')),
    codes          text[] NOT NULL,
    -- json and not jsonb: nothing looks inside, and jsonb refuses \u0000.
    reasons        json NOT NULL,
    limits         json NOT NULL,
    revision       text NOT NULL,
    plugin_digest  text NOT NULL,
    duration_us    bigint NOT NULL CHECK (duration_us >= 0),
    input          json,
    masked         json NOT NULL,
    omitted        text NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX decisions_newest ON decisions (tenant_id, id DESC);
CREATE INDEX decisions_of_key ON decisions (tenant_id, key_id, id DESC);
CREATE INDEX decisions_refused ON decisions (tenant_id, id DESC) WHERE effect <> 'allow';

ALTER TABLE decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON decisions TO twyn_server USING (tenant_id = current_setting('twyn.tenant', true));
CREATE POLICY system ON decisions TO twyn_system USING (true);
GRANT SELECT ON decisions TO twyn_server;
GRANT SELECT (id, tenant_id, environment), INSERT ON decisions TO twyn_system;

-- The first id of a day, in UTC.
-- +goose StatementBegin
CREATE FUNCTION decisions_from(day date) RETURNS text LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'dec_' || lpad(to_hex((extract(epoch FROM day) * 1000)::bigint), 12, '0')
$$;
-- +goose StatementEnd

-- Makes the partitions of days that have none, and returns how many it made.
-- A partition is made on its own and then attached, which lets readers of the
-- others go on.
-- +goose StatementBegin
CREATE FUNCTION make_decisions(days date[]) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    day date;
    part text;
    made int := 0;
BEGIN
    IF cardinality(days) > 32 THEN
        RAISE EXCEPTION 'make_decisions: % days at once', cardinality(days);
    END IF;
    FOR day IN SELECT DISTINCT d FROM unnest(days) AS d WHERE d >= '1970-01-01' AND d < '9999-01-01' ORDER BY d LOOP
        part := 'decisions_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = part);
        -- One at a time; whoever waited finds it made.
        PERFORM pg_advisory_xact_lock(hashtext('twyn decisions'));
        CONTINUE WHEN EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = part);
        EXECUTE format('CREATE TABLE public.%I (LIKE public.decisions INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE public.decisions ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            part, public.decisions_from(day), public.decisions_from(day + 1));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- Drops the partitions of all days before a day, and returns how many.
-- +goose StatementBegin
CREATE FUNCTION drop_decisions(before date) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    part text;
    dropped int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('twyn decisions'));
    FOR part IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.decisions'::regclass AND c.relname ~ '^decisions_[0-9]{8}$'
            AND to_date(right(c.relname, 8), 'YYYYMMDD') < before
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE public.%I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION decisions_from(date), make_decisions(date[]), drop_decisions(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_decisions(date[]), drop_decisions(date) TO twyn_system;

-- +goose Down
DROP FUNCTION drop_decisions(date);
DROP FUNCTION make_decisions(date[]);
DROP TABLE decisions;
DROP FUNCTION decisions_from(date);
