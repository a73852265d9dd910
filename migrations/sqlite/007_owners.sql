-- When each process that has runs open was last there, in microseconds since 1970; see the
-- PostgreSQL migration.
CREATE TABLE runlog_owners (
    owner TEXT PRIMARY KEY NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- The databases that logs in the journal wait for. place: "host:port/name" of POSTGRES_DSN,
-- or '' for this file itself (in the file beside it). database, cluster: what the server
-- said that it is; '' if it had not been reached yet.
CREATE TABLE journal_targets (
    target INTEGER PRIMARY KEY,
    place TEXT NOT NULL,
    database TEXT NOT NULL,
    cluster TEXT NOT NULL,
    UNIQUE (place, database, cluster)
);

-- 0: any database, as before this migration.
ALTER TABLE journal ADD COLUMN target INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal_rejected ADD COLUMN target INTEGER NOT NULL DEFAULT 0;
CREATE INDEX journal_target_idx ON journal (target);
