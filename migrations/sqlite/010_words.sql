-- The index of words, which the worker thread makes and fills (docs/search.md, "By words"). It
-- is the FTS5 table run_words_text, by the rowid of the run. That is no part of this migration,
-- as not every SQLite has FTS5; so no trigger may name it.
--
-- A row in run_words says that there is an index: the runs up to the rowid `position` are in
-- it, but for those in run_words_changed. tokenizer: 'words' or 'trigram'.
CREATE TABLE run_words (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    tokenizer TEXT NOT NULL
);

-- Runs that were logged again, or deleted (due < 0), since they were indexed. version: who has
-- indexed an older one leaves the row. due, in seconds since 1970: an open run, which changes
-- each second, is indexed again when it is twice as old.
CREATE TABLE run_words_changed (
    run INTEGER PRIMARY KEY,
    due INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
);

CREATE TRIGGER workflow_runs_words_changed
AFTER UPDATE OF status, inputs, outputs, node_logs, error_type, error_text, error_traceback
ON workflow_runs
WHEN EXISTS (SELECT 1 FROM run_words)
BEGIN
    INSERT INTO run_words_changed (run, due)
    VALUES (
        new.rowid,
        CASE WHEN new.status = 'running' THEN
            strftime('%s', 'now') + max(
                5, ifnull(strftime('%s', 'now') - strftime('%s', new.created_at), 0))
        ELSE 0 END
    )
    ON CONFLICT (run) DO UPDATE
    SET version = version + 1, due = min(due, excluded.due);
END;

-- The next run may get the rowid of a deleted one, if that was the greatest.
CREATE TRIGGER workflow_runs_words_deleted AFTER DELETE ON workflow_runs
WHEN EXISTS (SELECT 1 FROM run_words)
BEGIN
    INSERT INTO run_words_changed (run, due) VALUES (old.rowid, -1)
    ON CONFLICT (run) DO UPDATE SET version = version + 1, due = -1;
    UPDATE run_words SET position = ifnull((SELECT max(rowid) FROM workflow_runs), 0)
    WHERE position > ifnull((SELECT max(rowid) FROM workflow_runs), 0);
END;
