-- Hosts, the change feed and sagas: what every service stands on.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision BIGINT NOT NULL,
    incarnation TEXT NOT NULL,
    tunnel_ip TEXT NOT NULL,
    inventory TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    disabled_reason TEXT NOT NULL,
    registered_at_us BIGINT NOT NULL,
    seen_at_us BIGINT NOT NULL
);

CREATE TABLE wishes (
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    noun TEXT NOT NULL,
    id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    body TEXT,
    PRIMARY KEY (host_id, noun, id)
);
CREATE INDEX wishes_by_revision ON wishes (host_id, revision);
CREATE INDEX wishes_by_object ON wishes (noun, id);

CREATE TABLE reports (
    host_id TEXT NOT NULL,
    noun TEXT NOT NULL,
    id TEXT NOT NULL,
    generation BIGINT NOT NULL,
    phase TEXT NOT NULL,
    body TEXT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (host_id, noun, id),
    FOREIGN KEY (host_id, noun, id) REFERENCES wishes (host_id, noun, id) ON DELETE CASCADE
);

CREATE TABLE sagas (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    object_id TEXT NOT NULL UNIQUE,
    step INTEGER NOT NULL,
    undoing INTEGER NOT NULL,
    params TEXT NOT NULL,
    fault TEXT NOT NULL,
    deadline_us BIGINT NOT NULL,
    due_us BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX sagas_by_due ON sagas (due_us);
