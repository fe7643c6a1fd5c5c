-- Volumes: their types, records, and what they are attached to.
CREATE TABLE volume_types (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    is_public INTEGER NOT NULL,
    extra_specs TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);

CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    size_gb BIGINT NOT NULL,
    wished_size_gb BIGINT NOT NULL,
    status TEXT NOT NULL,
    built INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    deleting INTEGER NOT NULL,
    fault TEXT NOT NULL,
    host_id TEXT NOT NULL,
    availability_zone TEXT NOT NULL,
    volume_type_id TEXT NOT NULL REFERENCES volume_types (id),
    bootable INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    image_id TEXT NOT NULL,
    image_metadata TEXT NOT NULL,
    source_volume_id TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX volumes_by_project ON volumes (project_id, created_at_us, id);
CREATE INDEX volumes_by_host ON volumes (host_id);
CREATE INDEX volumes_by_created ON volumes (created_at_us, id);

CREATE TABLE attachments (
    id TEXT PRIMARY KEY,
    volume_id TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    server_id TEXT NOT NULL,
    host_id TEXT NOT NULL,
    device TEXT NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    connector TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    attached_at_us BIGINT NOT NULL
);
CREATE INDEX attachments_by_volume ON attachments (volume_id);
CREATE INDEX attachments_by_server ON attachments (server_id);
CREATE INDEX attachments_by_project ON attachments (project_id, created_at_us, id);
