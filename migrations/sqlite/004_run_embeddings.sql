-- The embeddings of runs, and what is still to be done about them: the outbox of the
-- embedding server and of Milvus. See the PostgreSQL migration. Times are microseconds
-- since 1970. The table has a rowid: without it, a row of 384 numbers takes an overflow page,
-- and the file twice the bytes.
CREATE TABLE run_embeddings (
    id TEXT PRIMARY KEY NOT NULL,
    wpk_id TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    last_error TEXT,
    upserted INTEGER NOT NULL DEFAULT 0,
    model TEXT,
    dim INTEGER,
    vector BLOB,
    text_hash INTEGER,
    text_bytes INTEGER,
    used_bytes INTEGER,
    stamp INTEGER
);

-- Runs that are new, whose rows the indexer makes: who keeps a run has less to write.
CREATE TABLE run_embeddings_new (seq INTEGER PRIMARY KEY, id TEXT NOT NULL);

CREATE INDEX run_embeddings_due_idx
    ON run_embeddings (state, next_attempt_at) WHERE state <> 'done';
CREATE INDEX run_embeddings_stamp_idx ON run_embeddings (stamp) WHERE stamp IS NOT NULL;

-- Whoever deletes a run. What may be in Milvus has to be deleted there, too: who is at work
-- on the row (next_attempt_at, without an error) first ends it, or its lease ends.
CREATE TRIGGER workflow_runs_embedding_deleted AFTER DELETE ON workflow_runs
BEGIN
    DELETE FROM run_embeddings WHERE id = old.id AND NOT upserted;
    UPDATE run_embeddings
    SET state = 'deleted', version = version + 1, attempts = 0,
        next_attempt_at = CASE WHEN last_error IS NULL THEN next_attempt_at ELSE 0 END,
        last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL,
        stamp = NULL
    WHERE id = old.id;
END;

-- A run of log_run that has become a graph's record, with another id.
CREATE TRIGGER workflow_runs_embedding_renamed AFTER UPDATE OF id ON workflow_runs
WHEN old.id <> new.id
BEGIN
    UPDATE run_embeddings_new SET id = new.id WHERE id = old.id;
    INSERT OR IGNORE INTO run_embeddings (id, wpk_id, state, next_attempt_at)
    SELECT new.id, wpk_id, 'pending', 0 FROM run_embeddings WHERE id = old.id;
    DELETE FROM run_embeddings WHERE id = old.id AND NOT upserted;
    UPDATE run_embeddings
    SET state = 'deleted', version = version + 1, attempts = 0,
        next_attempt_at = CASE WHEN last_error IS NULL THEN next_attempt_at ELSE 0 END,
        last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL,
        stamp = NULL
    WHERE id = old.id;
END;
