-- A search by meaning reads the vectors in the order of the primary key, in which those of a
-- workflow lie together. `stamp` tells the copies for pgvector whether they are of this vector;
-- nobody searches for it.
DROP INDEX IF EXISTS run_embeddings_stamp_idx;
