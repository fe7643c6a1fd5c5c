-- The kind of storage that a volume is in (empty: not reported yet), and that it shall be in.
ALTER TABLE volumes ADD COLUMN backend TEXT NOT NULL DEFAULT '';
ALTER TABLE volumes ADD COLUMN wished_backend TEXT NOT NULL DEFAULT 'local';
