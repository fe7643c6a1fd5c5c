//! The extension module `ostro._core`: convert, detach from the interpreter, map errors. No logic.
//!
//! One file per crate it binds: `placement.rs`, `flow.rs`, `chunk.rs`, and two for the one that does
//! I/O, `openflow.rs` and `netlink.rs`; each with a `register` function.
#![forbid(unsafe_code)]
use pyo3::prelude::*;

mod buffer;
mod chunk;
mod error;
mod flow;
mod netlink;
mod openflow;
mod placement;
mod shared;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::register(module)?;
    placement::register(module)?;
    flow::register(module)?;
    openflow::register(module)?;
    netlink::register(module)?;
    chunk::register(module)
}
