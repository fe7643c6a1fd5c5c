//! Logical networks and ports compiled to this host's flow tables, and the smallest difference between two of them. Pure.
#![forbid(unsafe_code)]
