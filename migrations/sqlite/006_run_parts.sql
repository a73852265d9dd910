-- What a run has beside its row; see the PostgreSQL migration. The table has a rowid:
-- without it, each search would compare keys that lie between large texts.
CREATE TABLE run_parts (
    wpk_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (wpk_id, id, name)
);

-- Whoever deletes a run.
CREATE TRIGGER workflow_runs_parts_deleted AFTER DELETE ON workflow_runs
BEGIN
    DELETE FROM run_parts WHERE wpk_id = old.wpk_id AND id = old.id;
END;

-- A run of log_run that has become a graph's record, with another id.
CREATE TRIGGER workflow_runs_parts_renamed AFTER UPDATE OF id ON workflow_runs
WHEN old.id <> new.id
BEGIN
    UPDATE run_parts SET id = new.id WHERE wpk_id = old.wpk_id AND id = old.id;
END;

-- parts: a JSON object of the log's parts by name. parts_use: 0 adds them, 1 also ends the
-- node logs among them (the row has them all), 2 also joins them into node_logs.
ALTER TABLE journal ADD COLUMN parts TEXT;
ALTER TABLE journal ADD COLUMN parts_use INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal_rejected ADD COLUMN parts TEXT;
ALTER TABLE journal_rejected ADD COLUMN parts_use INTEGER NOT NULL DEFAULT 0;
