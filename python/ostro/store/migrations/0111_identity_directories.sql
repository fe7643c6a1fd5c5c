-- Users and groups of directories, mirrored: see store/directories.py. Their name is what they are shown as; the column `name` holds their id.
ALTER TABLE groups ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN shown_name TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_shown_name ON users (domain_id, shown_name);

CREATE TABLE directory_ids (
    public_id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    local_id TEXT NOT NULL,
    UNIQUE (domain_id, kind, local_id)
);
