-- Placement. A host's provider has the host's id. `used` is the sum of the allocations of its row, kept by the same
-- transaction that writes them; `capacity` is (total - reserved) * allocation_ratio, rounded down.
CREATE TABLE resource_providers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation BIGINT NOT NULL,
    root_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX resource_providers_by_root ON resource_providers (root_id);
CREATE INDEX resource_providers_by_parent ON resource_providers (parent_id);

CREATE TABLE inventories (
    provider_id TEXT NOT NULL REFERENCES resource_providers (id) ON DELETE CASCADE,
    resource_class TEXT NOT NULL,
    total BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    min_unit BIGINT NOT NULL,
    max_unit BIGINT NOT NULL,
    step_size BIGINT NOT NULL,
    allocation_ratio DOUBLE PRECISION NOT NULL,
    capacity BIGINT NOT NULL,
    used BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (provider_id, resource_class)
);
CREATE INDEX inventories_by_class ON inventories (resource_class);

CREATE TABLE provider_traits (
    provider_id TEXT NOT NULL REFERENCES resource_providers (id) ON DELETE CASCADE,
    trait TEXT NOT NULL,
    PRIMARY KEY (provider_id, trait)
);
CREATE INDEX provider_traits_by_trait ON provider_traits (trait);

CREATE TABLE provider_aggregates (
    provider_id TEXT NOT NULL REFERENCES resource_providers (id) ON DELETE CASCADE,
    aggregate_id TEXT NOT NULL,
    PRIMARY KEY (provider_id, aggregate_id)
);
CREATE INDEX provider_aggregates_by_aggregate ON provider_aggregates (aggregate_id);

CREATE TABLE consumers (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX consumers_by_project ON consumers (project_id, user_id);

CREATE TABLE allocations (
    consumer_id TEXT NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    provider_id TEXT NOT NULL REFERENCES resource_providers (id),
    resource_class TEXT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (consumer_id, provider_id, resource_class)
);
CREATE INDEX allocations_by_provider ON allocations (provider_id, resource_class);

CREATE TABLE custom_traits (
    name TEXT PRIMARY KEY,
    updated_at_us BIGINT NOT NULL
);

CREATE TABLE custom_resource_classes (
    name TEXT PRIMARY KEY,
    updated_at_us BIGINT NOT NULL
);
