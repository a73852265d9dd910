-- The embeddings of runs, and what is still to be done about them: the outbox of the
-- embedding server and of Milvus. A row is written in the transaction of its run, and worked
-- off by whoever is there:
--   pending   its text is to be embedded
--   embedded  it has its vector, which is to be upserted where there is a Milvus
--   done      it is in Milvus
--   failed    it can't be done; last_error says why
--   deleted   its run is gone, and it is to be deleted in Milvus
-- version grows with each log of the run: who has worked on an older one changes nothing.
-- next_attempt_at (microseconds since 1970) is also, without a last_error, the end of the
-- lease of who works on it. A run that is logged again or deleted leaves it that lease.
-- upserted: it may be in Milvus. vector: float32, little-endian, as the model gave it.
-- text_hash: of the text that was embedded, of whose text_bytes the first used_bytes. stamp:
-- the transaction that wrote the vector, by which readers find what is new.
CREATE TABLE run_embeddings (
    id UUID NOT NULL,
    wpk_id TEXT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at BIGINT NOT NULL,
    last_error TEXT,
    upserted BOOLEAN NOT NULL DEFAULT FALSE,
    model TEXT,
    dim INTEGER,
    vector BYTEA,
    text_hash BIGINT,
    text_bytes BIGINT,
    used_bytes BIGINT,
    stamp BIGINT,
    PRIMARY KEY (wpk_id, id)
);
-- Numbers that look random do not shrink.
ALTER TABLE run_embeddings ALTER COLUMN vector SET STORAGE EXTERNAL;

CREATE INDEX run_embeddings_due_idx
    ON run_embeddings (state, next_attempt_at) WHERE state <> 'done';
CREATE INDEX run_embeddings_stamp_idx
    ON run_embeddings (stamp, id) WHERE stamp IS NOT NULL;

-- Whoever deletes runs. What may be in Milvus has to be deleted there, too: who is at work on
-- the row first ends it, or its lease ends.
CREATE FUNCTION run_embeddings_forget(gone_wpk_id TEXT, gone_id UUID) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM run_embeddings
    WHERE wpk_id = gone_wpk_id AND id = gone_id AND NOT upserted;
    UPDATE run_embeddings
    SET state = 'deleted', version = version + 1, attempts = 0,
        next_attempt_at = CASE WHEN last_error IS NULL THEN next_attempt_at ELSE 0 END,
        last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL,
        stamp = NULL
    WHERE wpk_id = gone_wpk_id AND id = gone_id;
$$;

CREATE FUNCTION workflow_runs_forget_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM run_embeddings_forget(gone.wpk_id, gone.id) FROM gone;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_embeddings_deleted
    AFTER DELETE ON workflow_runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_forget_embeddings();

-- All runs.
CREATE FUNCTION workflow_runs_forget_all_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM run_embeddings_forget(wpk_id, id) FROM run_embeddings WHERE state <> 'deleted';
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_embeddings_truncated
    AFTER TRUNCATE ON workflow_runs
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_forget_all_embeddings();

-- A run of log_run that has become a graph's record, with another id.
CREATE FUNCTION workflow_runs_rename_embedding() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at)
    SELECT NEW.id, NEW.wpk_id, 'pending', 0 FROM run_embeddings
    WHERE wpk_id = OLD.wpk_id AND id = OLD.id
    ON CONFLICT (wpk_id, id) DO NOTHING;
    PERFORM run_embeddings_forget(OLD.wpk_id, OLD.id);
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_embedding_renamed
    AFTER UPDATE OF id ON workflow_runs
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION workflow_runs_rename_embedding();
