-- For tables that lie on several servers (migrations/distributed), where no transaction id says
-- what is complete: triggers then write each run that is to be indexed here, and the place in
-- run_words_position is the greatest number. On one server the table stays empty.
CREATE TABLE run_words_queue (
    wpk_id TEXT NOT NULL,
    change UUID NOT NULL,
    id UUID NOT NULL,
    queued_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (wpk_id, change)
);
CREATE INDEX run_words_queue_queued_at_idx ON run_words_queue (queued_at);
