-- What a run has beside its row: JSON texts with names, see docs/schema.md.
--   32 hexadecimal digits     a large text, for which a payload has {"$value": name, ...}
--   n and ten digits          a node log, by its index; while the row has no node_logs
-- revision: of the log that wrote the part. data is not jsonb: nobody searches in it, and a
-- text of 16 MB is stored as it came.
CREATE TABLE run_parts (
    wpk_id TEXT NOT NULL,
    id UUID NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    data TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (wpk_id, id, name)
);

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_settings
               WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        ALTER TABLE run_parts ALTER COLUMN data SET COMPRESSION lz4;
    END IF;
END;
$$;

-- Whoever deletes runs.
CREATE FUNCTION workflow_runs_delete_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_parts USING gone
    WHERE run_parts.wpk_id = gone.wpk_id AND run_parts.id = gone.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_parts_deleted
    AFTER DELETE ON workflow_runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_delete_parts();

CREATE FUNCTION workflow_runs_truncate_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE run_parts;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_parts_truncated
    AFTER TRUNCATE ON workflow_runs
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_truncate_parts();

-- A run of log_run that has become a graph's record, with another id.
CREATE FUNCTION workflow_runs_rename_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE run_parts SET id = NEW.id WHERE wpk_id = OLD.wpk_id AND id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_parts_renamed
    AFTER UPDATE OF id ON workflow_runs
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION workflow_runs_rename_parts();
