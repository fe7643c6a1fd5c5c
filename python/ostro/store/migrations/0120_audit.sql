-- The audit log. A transaction puts its record into the inbox; one that seals moves it into the log, numbered and chained.
-- Nothing waits for a number but the sealer, and a record is moved exactly once.
CREATE TABLE audit_inbox (
    id TEXT PRIMARY KEY,
    at_us BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE audit_records (
    seq BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at_us BIGINT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    target_id TEXT NOT NULL,
    path TEXT NOT NULL,
    body TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE INDEX audit_records_by_project ON audit_records (project_id, seq);
CREATE INDEX audit_records_by_user ON audit_records (user_id, seq);
CREATE INDEX audit_records_by_time ON audit_records (at_us);

-- One row: the end of the chain, and where it begins since older records were removed by command.
CREATE TABLE audit_chain (
    id INTEGER PRIMARY KEY,
    seq BIGINT NOT NULL,
    digest TEXT NOT NULL,
    base_seq BIGINT NOT NULL,
    base_digest TEXT NOT NULL
);
INSERT INTO audit_chain (id, seq, digest, base_seq, base_digest) VALUES (1, 0, '', 0, '');
