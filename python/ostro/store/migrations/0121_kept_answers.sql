-- First answers to requests with an Idempotency-Key, sealed, for a day. id is a digest of caller, scope, method, path and key.
CREATE TABLE kept_answers (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX kept_answers_by_age ON kept_answers (created_at_us);
