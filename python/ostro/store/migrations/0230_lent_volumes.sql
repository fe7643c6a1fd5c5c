-- Volumes that a host was lent although no server there has them plugged in, or not any more: for one that comes, or has yet to leave.
CREATE TABLE lent_volumes (
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    volume_id TEXT NOT NULL,
    PRIMARY KEY (host_id, volume_id)
);
INSERT INTO lent_volumes (host_id, volume_id)
    SELECT w.host_id, w.id FROM wishes w JOIN volumes v ON v.id = w.id
    WHERE w.noun = 'volume' AND w.body IS NOT NULL AND v.host_id <> w.host_id;
