-- Adopts a workflow_runs that was made by hand before. Forward only: never edit a
-- migration that was applied.
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

CREATE TABLE IF NOT EXISTS workflow_runs (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    inputs JSONB,
    outputs JSONB,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    node_logs JSONB,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    updated_at TIMESTAMPTZ DEFAULT NOW(),
    UNIQUE (wpk_id, run_id)
);

CREATE INDEX IF NOT EXISTS workflow_runs_wpk_id_created_at_idx
    ON workflow_runs (wpk_id, created_at DESC, id DESC);

CREATE OR REPLACE FUNCTION workflow_runs_set_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$;

DROP TRIGGER IF EXISTS workflow_runs_updated_at ON workflow_runs;
CREATE TRIGGER workflow_runs_updated_at
    BEFORE UPDATE ON workflow_runs
    FOR EACH ROW EXECUTE FUNCTION workflow_runs_set_updated_at();
