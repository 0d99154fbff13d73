-- The life of policies: revisions, data documents and what of them is live.
-- They are the platform's, no tenant's statement ever reads them.

-- +goose Up
-- A revision never changes. When it last went live is beside it, whether it is
-- live now is said by policy_live alone.
CREATE TABLE policies (
    id           text COLLATE "C" PRIMARY KEY CHECK (id ~ '^rev_[a-z0-9]{24}$'),
    -- json and not jsonb: what was handed in is kept to the letter.
    files        json NOT NULL,
    data         json,
    message      text NOT NULL CHECK (char_length(message) <= 1000),
    report       json NOT NULL,
    created_at   timestamptz NOT NULL,
    created_by   text NOT NULL,
    activated_at timestamptz
);
CREATE INDEX policies_newest ON policies (created_at DESC, id DESC);

-- Each version holds all documents, so that what a decision has read is found
-- whole. Only the newest versions are kept.
CREATE TABLE policy_data (
    version    bigint PRIMARY KEY CHECK (version > 0),
    documents  json NOT NULL,
    path       text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL
);

-- One row says what is live. NULL stands for the policies of the program.
CREATE TABLE policy_live (
    single       boolean PRIMARY KEY CHECK (single),
    revision     text COLLATE "C" REFERENCES policies,
    previous     text COLLATE "C" REFERENCES policies,
    data_version bigint NOT NULL,
    generation   bigint NOT NULL,
    changed_at   timestamptz NOT NULL,
    changed_by   text NOT NULL
);
INSERT INTO policy_live (single, data_version, generation, changed_at, changed_by)
VALUES (true, 0, 0, '1970-01-01 00:00:00+00', '');

ALTER TABLE policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON policies TO twyn_system USING (true);
GRANT SELECT, INSERT, UPDATE (activated_at) ON policies TO twyn_system;

ALTER TABLE policy_data ENABLE ROW LEVEL SECURITY;
ALTER TABLE policy_data FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON policy_data TO twyn_system USING (true);
GRANT SELECT, INSERT, DELETE ON policy_data TO twyn_system;

ALTER TABLE policy_live ENABLE ROW LEVEL SECURITY;
ALTER TABLE policy_live FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON policy_live TO twyn_system USING (true);
GRANT SELECT, UPDATE (revision, previous, data_version, generation, changed_at, changed_by) ON policy_live TO twyn_system;

-- Every change is told on the channel twyn_policy.
-- +goose StatementBegin
CREATE FUNCTION notify_policy() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('twyn_policy', NEW.generation::text);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION notify_policy() FROM PUBLIC;
CREATE TRIGGER policy_changed AFTER UPDATE ON policy_live FOR EACH ROW EXECUTE FUNCTION notify_policy();

-- +goose Down
DROP TABLE policy_live;
DROP TABLE policy_data;
DROP TABLE policies;
DROP FUNCTION notify_policy();
