-- Objects: accounts, containers, objects, their small bodies and manifests, and the chunks that large bodies are cut into.
-- Names are bytes (UTF-8), because listings are in the order of bytes on every engine.
CREATE TABLE object_accounts (
    project_id TEXT PRIMARY KEY,
    headers TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE object_containers (
    id BIGINT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name BYTEA NOT NULL,
    headers TEXT NOT NULL,
    read_acl TEXT NOT NULL,
    write_acl TEXT NOT NULL,
    object_count BIGINT NOT NULL,
    bytes_used BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    UNIQUE (project_id, name)
);

-- Changes of counts that are not yet added up, so that writers of one container do not wait for each other.
CREATE TABLE object_count_changes (
    container_id BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX object_count_changes_by_container ON object_count_changes (container_id);

CREATE TABLE objects (
    container_id BIGINT NOT NULL REFERENCES object_containers (id),
    name BYTEA NOT NULL,
    id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    etag TEXT NOT NULL,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    delete_at_s BIGINT NOT NULL,
    PRIMARY KEY (container_id, name)
);
CREATE INDEX objects_by_expiry ON objects (delete_at_s) WHERE delete_at_s > 0;

CREATE TABLE object_bodies (
    id BIGINT PRIMARY KEY,
    data BYTEA NOT NULL
);

CREATE TABLE chunks (
    id TEXT PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    refs BIGINT NOT NULL
);
CREATE INDEX chunks_free ON chunks (id) WHERE refs = 0;
