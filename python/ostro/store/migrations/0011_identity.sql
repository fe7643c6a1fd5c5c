-- The rest of Identity: groups, the catalogue's own rows, credentials of every kind, delegation, limits, federation's records.
ALTER TABLE users ADD COLUMN password_by_admin INTEGER NOT NULL DEFAULT 0;
ALTER TABLE roles ADD COLUMN extra TEXT NOT NULL DEFAULT '{}';
ALTER TABLE revocations ADD COLUMN revoked_at_us BIGINT NOT NULL DEFAULT 0;

CREATE TABLE password_history (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    set_at_us BIGINT NOT NULL,
    password_hash TEXT NOT NULL,
    PRIMARY KEY (user_id, set_at_us)
);

CREATE TABLE login_failures (
    subject TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at_us BIGINT NOT NULL
);

CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    domain_id TEXT NOT NULL REFERENCES projects (id),
    description TEXT NOT NULL,
    extra TEXT NOT NULL,
    UNIQUE (domain_id, name)
);

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_by_user ON group_members (user_id);

CREATE TABLE regions (
    id TEXT PRIMARY KEY,
    parent_region_id TEXT NOT NULL,
    description TEXT NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE catalog_services (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    service_id TEXT NOT NULL,
    interface TEXT NOT NULL,
    region_id TEXT NOT NULL,
    url TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    extra TEXT NOT NULL
);
CREATE INDEX endpoints_by_service ON endpoints (service_id);

-- What this program has put into its own catalogue once: what an operator then deletes does not come back.
CREATE TABLE catalog_seeds (
    id TEXT PRIMARY KEY
);

CREATE TABLE endpoint_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    filters TEXT NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE endpoint_group_projects (
    endpoint_group_id TEXT NOT NULL REFERENCES endpoint_groups (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    PRIMARY KEY (endpoint_group_id, project_id)
);
CREATE INDEX endpoint_group_projects_by_project ON endpoint_group_projects (project_id);

CREATE TABLE project_endpoints (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL,
    PRIMARY KEY (project_id, endpoint_id)
);
CREATE INDEX project_endpoints_by_endpoint ON project_endpoints (endpoint_id);

CREATE TABLE policies (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    blob TEXT NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE policy_associations (
    policy_id TEXT NOT NULL REFERENCES policies (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL,
    service_id TEXT NOT NULL,
    region_id TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, service_id, region_id)
);
CREATE INDEX policy_associations_by_policy ON policy_associations (policy_id);

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    type TEXT NOT NULL,
    sealed_blob TEXT NOT NULL,
    extra TEXT NOT NULL
);
CREATE INDEX credentials_by_user ON credentials (user_id, type);
CREATE INDEX credentials_by_project ON credentials (project_id);

CREATE TABLE access_rules (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    service TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    UNIQUE (user_id, service, method, path)
);

CREATE TABLE application_credentials (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    description TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    unrestricted INTEGER NOT NULL,
    role_ids TEXT NOT NULL,
    access_rule_ids TEXT,
    UNIQUE (user_id, name)
);
CREATE INDEX application_credentials_by_project ON application_credentials (project_id);

CREATE TABLE trusts (
    id TEXT PRIMARY KEY,
    trustor_user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    trustee_user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    impersonation INTEGER NOT NULL,
    expires_at_us BIGINT NOT NULL,
    remaining_uses INTEGER,
    redelegated_trust_id TEXT NOT NULL,
    redelegation_count INTEGER NOT NULL,
    role_ids TEXT NOT NULL,
    extra TEXT NOT NULL
);
CREATE INDEX trusts_by_trustor ON trusts (trustor_user_id);
CREATE INDEX trusts_by_trustee ON trusts (trustee_user_id);
CREATE INDEX trusts_by_project ON trusts (project_id);

CREATE TABLE registered_limits (
    id TEXT PRIMARY KEY,
    service_id TEXT NOT NULL,
    region_id TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    default_limit BIGINT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (service_id, region_id, resource_name)
);

CREATE TABLE limits (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    service_id TEXT NOT NULL,
    region_id TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    resource_limit BIGINT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (project_id, domain_id, service_id, region_id, resource_name)
);

CREATE TABLE oauth1_consumers (
    id TEXT PRIMARY KEY,
    sealed_secret TEXT NOT NULL,
    description TEXT NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE oauth1_request_tokens (
    id TEXT PRIMARY KEY,
    sealed_secret TEXT NOT NULL,
    consumer_id TEXT NOT NULL REFERENCES oauth1_consumers (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    verifier TEXT NOT NULL,
    role_ids TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL
);

CREATE TABLE oauth1_access_tokens (
    id TEXT PRIMARY KEY,
    sealed_secret TEXT NOT NULL,
    consumer_id TEXT NOT NULL REFERENCES oauth1_consumers (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_ids TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL
);
CREATE INDEX oauth1_access_tokens_by_user ON oauth1_access_tokens (user_id);

CREATE TABLE oauth1_nonces (
    consumer_id TEXT NOT NULL,
    token_id TEXT NOT NULL,
    nonce TEXT NOT NULL,
    seen_at_us BIGINT NOT NULL,
    PRIMARY KEY (consumer_id, token_id, nonce)
);

CREATE TABLE domain_configs (
    domain_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    config TEXT NOT NULL
);

CREATE TABLE identity_providers (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    remote_ids TEXT NOT NULL,
    authorization_ttl INTEGER,
    extra TEXT NOT NULL
);

CREATE TABLE federation_protocols (
    idp_id TEXT NOT NULL REFERENCES identity_providers (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    mapping_id TEXT NOT NULL,
    remote_id_attribute TEXT NOT NULL,
    PRIMARY KEY (idp_id, id)
);

CREATE TABLE mappings (
    id TEXT PRIMARY KEY,
    rules TEXT NOT NULL,
    schema_version TEXT NOT NULL
);

CREATE TABLE service_providers (
    id TEXT PRIMARY KEY,
    auth_url TEXT NOT NULL,
    sp_url TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    relay_state_prefix TEXT NOT NULL,
    extra TEXT NOT NULL
);
