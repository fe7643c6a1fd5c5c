//! The extension module `ostro._core`: convert, detach from the interpreter, map errors. No logic.
//!
//! One file per crate it binds: `placement.rs`, `flow.rs`, `openflow.rs`, `chunk.rs`, each with a `register` function.
use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
