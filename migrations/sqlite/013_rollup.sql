-- The roll-up: what the runs of a workflow add up to (docs/schema.md). runlog's threads count
-- it, from the first time that somebody asks for it.
--
-- A row in run_rollup_state says that there is one. position: what is new of the runs up to this
-- rowid is in run_rollup_marks. version: rises with every change by who counts. walk_wpk_id,
-- walk_at: how far the first walk over the runs is; NULL after it. deleting: 1 within a
-- transaction in which runlog deletes runs, and counts them itself.
CREATE TABLE run_rollup_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    walk_wpk_id TEXT,
    walk_at TEXT,
    deleting INTEGER NOT NULL DEFAULT 0
);

-- level 0: leaves, of about 256 runs; 1: blocks of four hours; 2: spans of four weeks. gone: what
-- was deleted of a block. data, gone: src/rollup/form.c.
CREATE TABLE run_rollup (
    level INTEGER NOT NULL,
    wpk_id TEXT NOT NULL,
    from_at TEXT NOT NULL,
    until_at TEXT NOT NULL,
    runs INTEGER NOT NULL,
    data BLOB NOT NULL,
    gone BLOB,
    PRIMARY KEY (level, wpk_id, from_at)
);

-- The workflows and their nodes, in the order in which they were first counted.
CREATE TABLE run_rollup_workflows (
    wpk_id TEXT PRIMARY KEY NOT NULL,
    number INTEGER NOT NULL
);
CREATE TABLE run_rollup_nodes (
    wpk_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (wpk_id, number)
);

-- The leaves that have a created_at of this range are to be counted anew. runs: how many runs
-- that is about, at most. deleted: how many of them other programs have deleted. gone: what
-- runlog has deleted.
CREATE TABLE run_rollup_marks (
    id INTEGER PRIMARY KEY,
    wpk_id TEXT NOT NULL,
    from_at TEXT NOT NULL,
    to_at TEXT NOT NULL,
    runs INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    gone BLOB
);
CREATE INDEX run_rollup_marks_idx ON run_rollup_marks (wpk_id, from_at);

-- Runs behind the position are marked when it gets there; open ones are not counted, nor those
-- whose time is not as runlog writes it.
CREATE TRIGGER workflow_runs_rollup_changed
AFTER UPDATE OF wpk_id, run_id, status, duration_ms, error_type, error_text, metadata,
    node_logs, created_at ON workflow_runs
WHEN new.rowid <= (SELECT position FROM run_rollup_state)
    AND (old.status <> 'running' OR new.status <> 'running')
BEGIN
    INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs)
    SELECT new.wpk_id, new.created_at, new.created_at, 1
    WHERE new.created_at GLOB '????-??-??T??:??:??.??????Z';
    INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs)
    SELECT old.wpk_id, old.created_at, old.created_at, 1
    WHERE (old.wpk_id <> new.wpk_id OR old.created_at <> new.created_at)
        AND old.created_at GLOB '????-??-??T??:??:??.??????Z';
END;

-- The next run may get the rowid of a deleted one, if that was the greatest.
CREATE TRIGGER workflow_runs_rollup_deleted AFTER DELETE ON workflow_runs
WHEN EXISTS (SELECT 1 FROM run_rollup_state)
BEGIN
    INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs, deleted)
    SELECT old.wpk_id, old.created_at, old.created_at, 1, 1 FROM run_rollup_state
    WHERE old.rowid <= position AND deleting = 0 AND old.status <> 'running'
        AND old.created_at GLOB '????-??-??T??:??:??.??????Z';
    UPDATE run_rollup_state SET position = ifnull((SELECT max(rowid) FROM workflow_runs), 0)
    WHERE position > ifnull((SELECT max(rowid) FROM workflow_runs), 0);
END;
