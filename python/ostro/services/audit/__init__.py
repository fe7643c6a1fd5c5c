"""The audit log: who changed what, from where, with which result; chained, and anchored outside the database."""
