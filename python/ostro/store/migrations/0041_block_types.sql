-- The type that every volume has unless it asks for another, and the way from a source to the volumes made of it.
INSERT INTO volume_types (id, name, description, is_public, extra_specs, created_at_us)
VALUES ('6c6f6361-6c00-4000-8000-000000000001', 'local', 'Files on the disks of one host', 1, '{}', 0);
CREATE INDEX volumes_by_source ON volumes (source_volume_id);
