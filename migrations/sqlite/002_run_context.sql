-- What a run is about besides its payloads, and the indexes of list_runs and get_run.
ALTER TABLE workflow_runs ADD COLUMN thread_id TEXT;
ALTER TABLE workflow_runs ADD COLUMN error_type TEXT;
ALTER TABLE workflow_runs ADD COLUMN error_text TEXT;
ALTER TABLE workflow_runs ADD COLUMN metadata TEXT;
ALTER TABLE workflow_runs ADD COLUMN started_at TEXT;
ALTER TABLE workflow_runs ADD COLUMN owner TEXT;

CREATE INDEX workflow_runs_created_at_idx ON workflow_runs (created_at DESC, id DESC);
CREATE INDEX workflow_runs_run_id_idx ON workflow_runs (run_id);
CREATE INDEX workflow_runs_thread_id_idx
    ON workflow_runs (thread_id, created_at DESC, id DESC) WHERE thread_id IS NOT NULL;
-- Nearly all runs complete; those that did not are what one looks for.
CREATE INDEX workflow_runs_status_idx
    ON workflow_runs (status, created_at DESC, id DESC) WHERE status <> 'completed';
