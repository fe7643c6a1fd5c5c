-- Network. The JSON columns fixed_ips and security_groups of a port are what its views show; addresses and memberships are
-- the same facts as rows, for uniqueness and for looking up by them. Both are written by store/ports.py and by nothing else.
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    admin_state_up INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    mtu INTEGER NOT NULL,
    port_security_enabled INTEGER NOT NULL,
    network_type TEXT NOT NULL,
    physical_network TEXT NOT NULL,
    -- NULL for a local network, of which there may be many; 0 for a flat one, of which there is one on each physical network.
    segmentation_id INTEGER,
    service_mac TEXT NOT NULL,
    tags TEXT NOT NULL,
    revision_number INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    UNIQUE (network_type, physical_network, segmentation_id)
);
CREATE INDEX networks_by_project ON networks (project_id);
CREATE INDEX networks_by_shared ON networks (shared);

CREATE TABLE subnets (
    id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    ip_version INTEGER NOT NULL,
    cidr TEXT NOT NULL,
    gateway_ip TEXT NOT NULL,
    enable_dhcp INTEGER NOT NULL,
    allocation_pools TEXT NOT NULL,
    dns_nameservers TEXT NOT NULL,
    host_routes TEXT NOT NULL,
    service_types TEXT NOT NULL,
    tags TEXT NOT NULL,
    revision_number INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX subnets_by_network ON subnets (network_id);
CREATE INDEX subnets_by_project ON subnets (project_id);

CREATE TABLE ports (
    id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL REFERENCES networks (id),
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    mac_address TEXT NOT NULL,
    admin_state_up INTEGER NOT NULL,
    status TEXT NOT NULL,
    device_id TEXT NOT NULL,
    device_owner TEXT NOT NULL,
    fixed_ips TEXT NOT NULL,
    security_groups TEXT NOT NULL,
    address_pairs TEXT NOT NULL,
    port_security_enabled INTEGER NOT NULL,
    -- binding_host is the name that was asked for; host_id is the host of that name, empty while there is none.
    binding_host TEXT NOT NULL,
    host_id TEXT NOT NULL,
    vnic_type TEXT NOT NULL,
    binding_profile TEXT NOT NULL,
    -- Set by Compute: the guest's host name, the place among its NICs, and whether the port goes when the server does.
    hostname TEXT NOT NULL,
    nic_index INTEGER NOT NULL,
    owned_by_server INTEGER NOT NULL,
    nic_tag TEXT NOT NULL,
    tags TEXT NOT NULL,
    revision_number INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    UNIQUE (mac_address, network_id)
);
CREATE INDEX ports_by_network ON ports (network_id, id);
CREATE INDEX ports_by_project ON ports (project_id, id);
CREATE INDEX ports_by_device ON ports (device_id);
CREATE INDEX ports_by_host ON ports (host_id, network_id);

-- No two ports have one address in one subnet; the subnets of a network do not overlap. address is the number of an IPv4 address.
CREATE TABLE addresses (
    subnet_id TEXT NOT NULL REFERENCES subnets (id),
    address BIGINT NOT NULL,
    -- Deferred: an address is claimed before the row of its port, which shows it, is written.
    port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (subnet_id, address)
);
CREATE INDEX addresses_by_port ON addresses (port_id);
CREATE INDEX addresses_by_address ON addresses (address);

CREATE TABLE security_groups (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    stateful INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    tags TEXT NOT NULL,
    revision_number INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX security_groups_by_project ON security_groups (project_id, id);
CREATE UNIQUE INDEX security_groups_default ON security_groups (project_id) WHERE is_default = 1;

CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY,
    security_group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    description TEXT NOT NULL,
    direction TEXT NOT NULL,
    ethertype TEXT NOT NULL,
    protocol TEXT,
    port_range_min INTEGER,
    port_range_max INTEGER,
    remote_ip_prefix TEXT,
    remote_group_id TEXT,
    -- What the rule admits, normalised: two rules of a group are duplicates when it is the same.
    fingerprint TEXT NOT NULL,
    revision_number INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    UNIQUE (security_group_id, fingerprint)
);
CREATE INDEX security_group_rules_by_project ON security_group_rules (project_id);
CREATE INDEX security_group_rules_by_remote ON security_group_rules (remote_group_id);

CREATE TABLE memberships (
    security_group_id TEXT NOT NULL REFERENCES security_groups (id),
    port_id TEXT NOT NULL REFERENCES ports (id) ON DELETE CASCADE,
    PRIMARY KEY (security_group_id, port_id)
);
CREATE INDEX memberships_by_port ON memberships (port_id);
