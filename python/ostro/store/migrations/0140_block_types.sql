-- Volume types: who may use those that aren't public, how their volumes are encrypted, and what their volumes are limited to.
ALTER TABLE volume_types ADD COLUMN qos_specs_id TEXT NOT NULL DEFAULT '';
CREATE TABLE volume_type_access (
    volume_type_id TEXT NOT NULL REFERENCES volume_types (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (volume_type_id, project_id)
);
CREATE TABLE volume_type_encryptions (
    volume_type_id TEXT PRIMARY KEY REFERENCES volume_types (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    provider TEXT NOT NULL,
    control_location TEXT NOT NULL,
    cipher TEXT,
    key_size BIGINT,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE TABLE qos_specs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    consumer TEXT NOT NULL,
    specs TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX qos_specs_by_created ON qos_specs (created_at_us, id);
CREATE INDEX volume_types_by_qos ON volume_types (qos_specs_id);
CREATE INDEX volumes_by_type ON volumes (volume_type_id);

-- What storage holds a volume to, and what the hypervisor holds it to where it is plugged in.
ALTER TABLE volumes ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE attachments ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- Keys of encrypted volumes: a secret, sealed, of which a volume's passphrase is made with the salt. A copy of a volume has both from it.
CREATE TABLE volume_keys (
    volume_id TEXT PRIMARY KEY REFERENCES volumes (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    provider TEXT NOT NULL,
    control_location TEXT NOT NULL,
    cipher TEXT NOT NULL,
    key_size BIGINT NOT NULL,
    salt TEXT NOT NULL,
    sealed TEXT NOT NULL
);
