-- Volumes that are offered to whoever has the key. While there is a row of a volume, the volume awaits its transfer.
CREATE TABLE volume_transfers (
    id TEXT PRIMARY KEY,
    volume_id TEXT NOT NULL UNIQUE REFERENCES volumes (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    salt TEXT NOT NULL,
    digest TEXT NOT NULL,
    without_snapshots INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX volume_transfers_by_project ON volume_transfers (project_id, created_at_us, id);
