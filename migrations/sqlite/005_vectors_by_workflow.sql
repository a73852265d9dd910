-- A search by meaning reads the vectors of one workflow, or all of them in the order of the
-- table. `stamp` is now the time at which the vector was written; nobody searches for it.
DROP INDEX IF EXISTS run_embeddings_stamp_idx;
CREATE INDEX run_embeddings_wpk_id_idx ON run_embeddings (wpk_id) WHERE vector IS NOT NULL;
