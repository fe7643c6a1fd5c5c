-- Images: their records, who may see them, what they can be found by, and which hosts hold them.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    visibility TEXT NOT NULL,
    protected INTEGER NOT NULL,
    hidden INTEGER NOT NULL,
    disk_format TEXT NOT NULL,
    container_format TEXT NOT NULL,
    min_disk_gb BIGINT NOT NULL,
    min_ram_mb BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    virtual_size_bytes BIGINT NOT NULL,
    checksum TEXT NOT NULL,
    sha512 TEXT NOT NULL,
    tags TEXT NOT NULL,
    properties TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX images_by_owner ON images (owner_id, created_at_us, id);
CREATE INDEX images_by_visibility ON images (visibility, created_at_us, id);
CREATE INDEX images_by_status ON images (status, created_at_us, id);
CREATE INDEX images_by_name ON images (name);

CREATE TABLE image_terms (
    term TEXT NOT NULL,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (term, image_id)
);
CREATE INDEX image_terms_by_image ON image_terms (image_id);

CREATE TABLE image_members (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    member_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (image_id, member_id)
);
CREATE INDEX image_members_by_member ON image_members (member_id, status, image_id);

CREATE TABLE image_holds (
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    holder_id TEXT NOT NULL,
    PRIMARY KEY (host_id, image_id, holder_id)
);
CREATE INDEX image_holds_by_image ON image_holds (image_id);
