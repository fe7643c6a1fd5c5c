-- Images that are being made of what volumes hold. While there is one of a volume, the volume is uploading.
CREATE TABLE volume_uploads (
    id TEXT PRIMARY KEY,
    volume_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    host_id TEXT NOT NULL,
    shared INTEGER NOT NULL,
    fault TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX volume_uploads_by_volume ON volume_uploads (volume_id);
CREATE INDEX volume_uploads_by_image ON volume_uploads (image_id);
