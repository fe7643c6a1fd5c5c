-- What volumes held at one moment, and the way from a snapshot to the volumes made of it.
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    volume_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    size_gb BIGINT NOT NULL,
    status TEXT NOT NULL,
    built INTEGER NOT NULL,
    deleting INTEGER NOT NULL,
    fault TEXT NOT NULL,
    host_id TEXT NOT NULL,
    backend TEXT NOT NULL,
    volume_type_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX snapshots_by_project ON snapshots (project_id, created_at_us, id);
CREATE INDEX snapshots_by_volume ON snapshots (volume_id);
CREATE INDEX snapshots_by_created ON snapshots (created_at_us, id);
ALTER TABLE volumes ADD COLUMN snapshot_id TEXT NOT NULL DEFAULT '';
CREATE INDEX volumes_by_snapshot ON volumes (snapshot_id);
