-- Indexes only.
-- Of a table with many runs, `runlog migrate apply` executes these one after the other,
-- outside of a transaction; of any other, and of a new one, runlog does in a transaction.

-- The keys grow with time, and an index in descending order gets each at its left end,
-- where every split leaves a page that is half empty. It is read backwards just as well.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_runs_time_idx ON workflow_runs (created_at, id);
DROP INDEX CONCURRENTLY IF EXISTS workflow_runs_created_at_idx;
CREATE INDEX CONCURRENTLY IF NOT EXISTS run_words_time_idx ON run_words (created_at, id);
DROP INDEX CONCURRENTLY IF EXISTS run_words_created_at_idx;

-- The runs of a thread that did not complete: list_runs.
CREATE INDEX CONCURRENTLY IF NOT EXISTS workflow_runs_thread_id_status_idx
    ON workflow_runs (thread_id, status, created_at, id)
    WHERE status <> 'completed' AND thread_id IS NOT NULL;
