//! Where errors and panics become Python's.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

create_exception!(ostro._core, Bug, PyRuntimeError, "A defect of Ostro's Rust core: it panicked, and says where.");

/// Run `work`; a panic in it becomes [`Bug`] with the panic's message.
pub fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Bug::new_err(message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("ostro._core panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))
}

/// The exceptions of the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Bug", module.py().get_type::<Bug>())
}
