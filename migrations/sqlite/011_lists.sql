-- The runs of a workflow that did not complete: list_runs and count_runs.
CREATE INDEX workflow_runs_wpk_id_status_idx
    ON workflow_runs (wpk_id, status, created_at, id) WHERE status <> 'completed';

-- Runs with an error, in the order of pages: list_runs looks for a text in them.
CREATE INDEX workflow_runs_error_idx ON workflow_runs (created_at, id)
    WHERE error_type IS NOT NULL OR error_text IS NOT NULL;
