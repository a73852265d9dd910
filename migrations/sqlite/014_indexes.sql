-- Indexes only.
-- Of a file with many runs, `runlog migrate apply` executes these one after the other, each
-- in a transaction; of any other, runlog does when it opens the file.

-- In the order in which the keys grow; see the PostgreSQL migration.
CREATE INDEX IF NOT EXISTS workflow_runs_time_idx ON workflow_runs (created_at, id);
DROP INDEX IF EXISTS workflow_runs_created_at_idx;
CREATE INDEX IF NOT EXISTS workflow_runs_wpk_id_time_idx
    ON workflow_runs (wpk_id, created_at, id);
DROP INDEX IF EXISTS workflow_runs_wpk_id_created_at_idx;

-- The runs of a thread that did not complete: list_runs.
CREATE INDEX IF NOT EXISTS workflow_runs_thread_id_status_idx
    ON workflow_runs (thread_id, status, created_at, id)
    WHERE status <> 'completed' AND thread_id IS NOT NULL;
