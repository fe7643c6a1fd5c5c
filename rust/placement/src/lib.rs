//! Hosts in columns: filter, score and propose claims. Pure.
#![forbid(unsafe_code)]
