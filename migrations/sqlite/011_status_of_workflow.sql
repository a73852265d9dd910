-- The runs of a workflow that did not complete: list_runs and count_runs.
CREATE INDEX workflow_runs_wpk_id_status_idx
    ON workflow_runs (wpk_id, status, created_at, id) WHERE status <> 'completed';
