-- What many controllers share: sealed secrets, tokens to join by, certificates, who serves, and which uploads are under way.

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    sealed TEXT NOT NULL
);

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    host_name TEXT NOT NULL,
    uses_left BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    host_name TEXT NOT NULL,
    token_id TEXT NOT NULL,
    key_digest TEXT NOT NULL,
    issued_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    revoked INTEGER NOT NULL
);
CREATE INDEX certificates_by_host ON certificates (host_name);

CREATE TABLE controllers (
    url TEXT PRIMARY KEY,
    seen_at_us BIGINT NOT NULL
);

CREATE TABLE live_uploads (
    upload_id TEXT PRIMARY KEY,
    seen_at_us BIGINT NOT NULL
);

-- Whether a host is in maintenance is told by its being disabled, and why.
ALTER TABLE hosts DROP COLUMN maintenance;
