-- For PostgreSQL with the extension vector (pgvector), which whoever runs the database has
-- created: the vectors once more, as that extension can search them. `vector` stays what
-- counts: this copy goes with DROP EXTENSION vector CASCADE, and can be made again.
-- embedding_stamp: the stamp of the vector that the copy is of. A row whose stamp is another
-- one has no copy yet; searches read its `vector`, and whoever works the outbox off makes it.
-- The dimension is not fixed, as it is the model's.
ALTER TABLE run_embeddings
    DROP COLUMN IF EXISTS embedding_stamp,
    ADD COLUMN embedding vector,
    ADD COLUMN embedding_stamp BIGINT;
ALTER TABLE run_embeddings ALTER COLUMN embedding SET STORAGE EXTERNAL;

CREATE INDEX run_embeddings_uncopied_idx ON run_embeddings (id)
    WHERE vector IS NOT NULL AND embedding_stamp IS DISTINCT FROM stamp;
