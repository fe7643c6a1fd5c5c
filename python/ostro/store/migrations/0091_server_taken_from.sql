-- The host that a server was taken from without its knowing.
ALTER TABLE servers ADD COLUMN taken_from TEXT NOT NULL DEFAULT '';
