-- The table of the PostgreSQL migration of the same number. Times are text of the form
-- 2026-11-23T18:00:00.123456Z (UTC), which sorts as the times do; payloads are JSON text.
CREATE TABLE IF NOT EXISTS workflow_runs (
    id TEXT PRIMARY KEY NOT NULL,
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    inputs TEXT,
    outputs TEXT,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    node_logs TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (wpk_id, run_id)
);

CREATE INDEX IF NOT EXISTS workflow_runs_wpk_id_created_at_idx
    ON workflow_runs (wpk_id, created_at DESC, id DESC);
