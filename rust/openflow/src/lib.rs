//! OpenFlow 1.5 wire format and the connection to the local switch; netlink batches. The only I/O crate.
