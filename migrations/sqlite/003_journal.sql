-- When a run was logged, in microseconds since 1970; see the PostgreSQL migration.
ALTER TABLE workflow_runs ADD COLUMN revision INTEGER;

-- With POSTGRES_DSN set, the file is the journal: each row is one log of a run that waits to
-- be forwarded, in the order of seq. A run that was logged twice has two rows. own: the id is
-- the record's own, so that a run of another id under the same name is another run.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    thread_id TEXT,
    error_type TEXT,
    error_text TEXT,
    started_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    inputs TEXT,
    outputs TEXT,
    node_logs TEXT,
    metadata TEXT,
    owner TEXT,
    revision INTEGER NOT NULL,
    own INTEGER NOT NULL DEFAULT 0,
    wide_numbers INTEGER NOT NULL DEFAULT 0
);

-- What the server refused for good, with its reason. Nothing takes it up again by itself.
CREATE TABLE journal_rejected (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    wpk_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    status TEXT NOT NULL,
    duration_ms INTEGER,
    thread_id TEXT,
    error_type TEXT,
    error_text TEXT,
    started_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    inputs TEXT,
    outputs TEXT,
    node_logs TEXT,
    metadata TEXT,
    owner TEXT,
    revision INTEGER NOT NULL,
    own INTEGER NOT NULL DEFAULT 0,
    wide_numbers INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL,
    sqlstate TEXT,
    rejected_at TEXT NOT NULL
);

-- Who forwards now, and the greatest seq that was ever taken out of the journal: no row gets
-- a smaller one, so that a seq names one row for ever.
CREATE TABLE journal_lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT,
    until INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0
);
INSERT INTO journal_lease (one) VALUES (1);
