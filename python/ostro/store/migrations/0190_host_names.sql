-- Hosts' names are compared without regard to upper and lower case, as TLS does with the names in their certificates.

CREATE INDEX hosts_by_name ON hosts (lower(name));

DROP INDEX certificates_by_host;

CREATE INDEX certificates_by_host ON certificates (lower(host_name));
