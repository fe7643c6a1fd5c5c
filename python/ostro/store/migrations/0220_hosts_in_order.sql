-- Lists of hosts are in the order of their registration.
CREATE INDEX hosts_by_registration ON hosts (registered_at_us, id);
