-- Lays runlog's tables out over the servers of a Citus cluster: those of runs by wpk_id, so that
-- all of a workflow lies together, the small ones whole on each server. docs/operations.md, "Citus".
SET LOCAL citus.enable_unsafe_triggers = on; -- each trigger stays within its shard
LOCK TABLE workflow_runs IN ACCESS EXCLUSIVE MODE;

-- Keys without wpk_id can't be kept unique over several servers.
DO $$
DECLARE
    key RECORD;
BEGIN
    FOR key IN
        SELECT conrelid::regclass AS tab, conname FROM pg_catalog.pg_constraint AS con
        JOIN pg_catalog.pg_attribute AS att ON att.attrelid = conrelid AND attname = 'wpk_id'
        WHERE conrelid IN ('workflow_runs'::regclass, 'run_rollup_marks'::regclass)
            AND contype IN ('p', 'u') AND attnum <> ALL (conkey)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.tab, key.conname);
    END LOOP;
END;
$$;
ALTER TABLE workflow_runs ADD PRIMARY KEY (wpk_id, id);
ALTER TABLE run_rollup_marks ADD PRIMARY KEY (wpk_id, mark);

-- What is not indexed or counted yet is queued, from now on by a trigger: the servers' transaction
-- ids can't be compared. logged_txid only orders runs, about as they were logged.
INSERT INTO run_words_queue (wpk_id, change, id, queued_at)
SELECT wpk_id, gen_random_uuid(), id, created_at FROM workflow_runs
WHERE (logged_txid, id) > (coalesce((SELECT txid FROM run_words_position), 0), coalesce(
    (SELECT id FROM run_words_position), '00000000-0000-0000-0000-000000000000'));
INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs)
SELECT wpk_id, min(created_at), max(created_at), count(*) FROM workflow_runs
WHERE (logged_txid, id) > (coalesce((SELECT txid FROM run_rollup_state), 0), coalesce(
    (SELECT id FROM run_rollup_state), '00000000-0000-0000-0000-000000000000'))
    AND status <> 'running' AND created_at BETWEEN '0001-01-02' AND '9999-12-30'
GROUP BY wpk_id, floor(extract(epoch FROM created_at) / 225);
ALTER TABLE run_words_position ALTER COLUMN txid SET DEFAULT 9223372036854775807;
ALTER TABLE run_rollup_state ALTER COLUMN txid SET DEFAULT 9223372036854775807;
INSERT INTO run_words_position DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET txid = excluded.txid;
INSERT INTO run_rollup_state DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET txid = excluded.txid;

CREATE FUNCTION workflow_runs_queue() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_words_queue (wpk_id, change, id, queued_at)
    VALUES (NEW.wpk_id, gen_random_uuid(), NEW.id, clock_timestamp());
    IF NEW.status <> 'running' AND NEW.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN
        INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs)
        VALUES (NEW.wpk_id, NEW.created_at, NEW.created_at, 1);
    END IF;
    RETURN NULL;
END;
$$;
ALTER TABLE workflow_runs ALTER COLUMN logged_txid
    SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
CREATE OR REPLACE FUNCTION workflow_runs_set_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    NEW.logged_txid = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    RETURN NEW;
END;
$$;

-- A statement of a trigger may touch one workflow only, which it names.
CREATE OR REPLACE FUNCTION workflow_runs_forget_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    one RECORD;
BEGIN
    FOR one IN SELECT wpk_id, id FROM gone LOOP
        PERFORM run_embeddings_forget(one.wpk_id, one.id);
    END LOOP;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_delete_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    of RECORD;
BEGIN
    FOR of IN SELECT wpk_id, array_agg(id) AS ids FROM gone GROUP BY wpk_id LOOP
        DELETE FROM run_parts WHERE wpk_id = of.wpk_id AND id = ANY (of.ids);
    END LOOP;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_delete_words() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    of RECORD;
BEGIN
    FOR of IN SELECT wpk_id, array_agg(id) AS ids FROM gone GROUP BY wpk_id LOOP
        DELETE FROM run_words WHERE wpk_id = of.wpk_id AND id = ANY (of.ids);
        DELETE FROM run_words_queue WHERE wpk_id = of.wpk_id AND id = ANY (of.ids);
    END LOOP;
    RETURN NULL;
END;
$$;

-- runlog can't tell a shard that it counts what it deletes itself, so what other programs delete
-- stays in the roll-up until `runlog rollup --rebuild`.
DROP TRIGGER workflow_runs_rollup_deleted ON workflow_runs;

-- Of the table as a whole: a trigger of one shard leaves the other tables alone, and so does one
-- whose runs are all there, as when the coordinator drops its copy of what it has distributed.
CREATE FUNCTION workflow_runs_is_empty(tab TEXT) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF tab <> 'workflow_runs' THEN
        RETURN FALSE;
    END IF;
    RETURN NOT EXISTS (SELECT 1 FROM workflow_runs);
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_forget_all_embeddings() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF workflow_runs_is_empty(TG_TABLE_NAME) THEN
        DELETE FROM run_embeddings WHERE NOT upserted;
        UPDATE run_embeddings
        SET state = 'deleted', version = version + 1, attempts = 0, last_error = NULL,
            next_attempt_at = CASE WHEN last_error IS NULL THEN next_attempt_at ELSE 0 END,
            model = NULL, dim = NULL, vector = NULL, text_hash = NULL, stamp = NULL
        WHERE state <> 'deleted';
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_truncate_parts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF workflow_runs_is_empty(TG_TABLE_NAME) THEN
        DELETE FROM run_parts;
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_truncate_words() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF workflow_runs_is_empty(TG_TABLE_NAME) THEN
        DELETE FROM run_words;
        DELETE FROM run_words_queue;
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_mark_truncated() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF workflow_runs_is_empty(TG_TABLE_NAME) THEN
        INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs, deleted)
        SELECT wpk_id, from_at, until_at - interval '1 microsecond', runs, greatest(runs, 1)
        FROM run_rollup WHERE level = 1;
    END IF;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION workflow_runs_mark_moved() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN
        INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs)
        VALUES (OLD.wpk_id, OLD.created_at, OLD.created_at, 1);
    END IF;
    RETURN NULL;
END;
$$;

SELECT create_distributed_table('workflow_runs', 'wpk_id');
SELECT create_distributed_table(name::regclass, 'wpk_id', colocate_with => 'workflow_runs')
FROM unnest(ARRAY['run_parts', 'run_embeddings', 'run_words', 'run_words_queue', 'run_rollup',
    'run_rollup_marks', 'run_rollup_workflows', 'run_rollup_nodes']) AS name;
SELECT create_reference_table(name::regclass)
FROM unnest(ARRAY['runlog_migrations', 'runlog_database', 'runlog_distributed_migrations', 'runlog_owners', 'run_words_position',
    'run_rollup_state']) AS name;

-- Last, as it would queue the runs that are copied to the shards; and by itself, as Citus sends
-- the whole text that has a CREATE TRIGGER to the shards.
DO $$
BEGIN
    EXECUTE 'CREATE TRIGGER workflow_runs_queued AFTER INSERT OR UPDATE ON workflow_runs '
        'FOR EACH ROW EXECUTE FUNCTION workflow_runs_queue()';
END;
$$;
