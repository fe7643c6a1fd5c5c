-- What is counted against limits, found without touching the rows themselves; and the numbers of quota classes, which nothing goes by.
CREATE INDEX servers_by_use ON servers (project_id, vcpus, ram_mb, disk_gb) WHERE deleted_at_us = 0;
CREATE INDEX volumes_by_use ON volumes (project_id, volume_type_id, wished_size_gb);
CREATE INDEX snapshots_by_use ON snapshots (project_id, volume_type_id, size_gb);
CREATE INDEX images_by_use ON images (owner_id, status, size_bytes);

CREATE TABLE class_quotas (
    service_id TEXT NOT NULL,
    class_name TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    hard_limit BIGINT NOT NULL,
    PRIMARY KEY (service_id, class_name, resource_name)
);
