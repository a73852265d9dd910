-- The index of words (docs/search.md, "By words"), which runlog's worker threads fill.
--
-- logged_txid: the transaction that last wrote the run. Those before the oldest one that is
-- still open are complete, so that the index goes on from there and misses nothing, in
-- whatever order they commit. The runs that are there get the transaction of this migration;
-- the table is not rewritten.
ALTER TABLE workflow_runs ADD COLUMN logged_txid BIGINT DEFAULT txid_current();
CREATE INDEX workflow_runs_logged_txid_idx ON workflow_runs (logged_txid, id);

-- As in 001.
CREATE OR REPLACE FUNCTION workflow_runs_set_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = NOW();
    NEW.logged_txid = txid_current();
    RETURN NEW;
END;
$$;

-- indexed_at: an open run, which changes each second, is indexed again when it is twice as
-- old. due: then, if it has changed since; NULL of a run that is indexed as it is.
CREATE TABLE run_words (
    wpk_id TEXT NOT NULL,
    id UUID NOT NULL,
    created_at TIMESTAMPTZ,
    indexed_at TIMESTAMPTZ NOT NULL,
    due TIMESTAMPTZ,
    words TSVECTOR NOT NULL,
    PRIMARY KEY (wpk_id, id)
);
CREATE INDEX run_words_words_idx ON run_words USING gin (words);
CREATE INDEX run_words_created_at_idx ON run_words (created_at DESC, id DESC);
CREATE INDEX run_words_due_idx ON run_words (due) WHERE due IS NOT NULL;

-- One row: the place up to which runs are indexed. Whoever indexes has locked it.
CREATE TABLE run_words_position (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    txid BIGINT NOT NULL DEFAULT 0,
    id UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);
INSERT INTO run_words_position DEFAULT VALUES;

-- Whoever deletes runs.
CREATE FUNCTION workflow_runs_delete_words() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_words USING gone
    WHERE run_words.wpk_id = gone.wpk_id AND run_words.id = gone.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_words_deleted
    AFTER DELETE ON workflow_runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_delete_words();

CREATE FUNCTION workflow_runs_truncate_words() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE run_words;
    RETURN NULL;
EXCEPTION WHEN object_in_use THEN
    DELETE FROM run_words; -- as in 007
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_words_truncated
    AFTER TRUNCATE ON workflow_runs
    FOR EACH STATEMENT EXECUTE FUNCTION workflow_runs_truncate_words();

-- A run of log_run that has become a graph's record, with another id, is indexed under that.
CREATE FUNCTION workflow_runs_rename_words() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_words WHERE wpk_id = OLD.wpk_id AND id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER workflow_runs_words_renamed
    AFTER UPDATE OF id ON workflow_runs
    FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION workflow_runs_rename_words();
