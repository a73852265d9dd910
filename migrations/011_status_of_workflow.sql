-- The runs of a workflow that did not complete: list_runs and count_runs. The keys grow with
-- time, so an ascending index fills its pages, and is read backwards as well.
CREATE INDEX workflow_runs_wpk_id_status_idx
    ON workflow_runs (wpk_id, status, created_at, id) WHERE status <> 'completed';
