-- A search by words in one workflow reads that workflow's runs, the newest first. Without this
-- index it read those of all workflows, if few had the word.
CREATE INDEX run_words_wpk_id_created_at_idx
    ON run_words (wpk_id, created_at DESC, id DESC);
