-- Which database this is, for the journals that hold its runs: see docs/operations.md,
-- "Sharing a journal". One row, which a dump and a replica have, too.
CREATE TABLE runlog_database (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    id UUID NOT NULL
);
INSERT INTO runlog_database (id) VALUES (uuid_generate_v4());

-- When each process that has runs open was last there, by this server's clock. Not
-- distributed on Citus, so its key needs no wpk_id: it has a row a process, not a run.
CREATE TABLE runlog_owners (
    owner TEXT COLLATE "C" PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);

-- As in 006, but where the statement names run_parts, too: TRUNCATE workflow_runs, run_parts.
CREATE OR REPLACE FUNCTION workflow_runs_truncate_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE run_parts;
    RETURN NULL;
EXCEPTION WHEN object_in_use THEN
    DELETE FROM run_parts; -- it is empty by then, or somebody else has a cursor on it
    RETURN NULL;
END;
$$;
