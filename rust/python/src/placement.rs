//! Binds the placement crate: `HostTable` and `Decision`.
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use ostro_placement::{self as core, PlacementError};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pythonize::depythonize;
use serde::Deserialize;

use crate::error::guarded;

fn read<'a, T: Deserialize<'a>>(what: &str, value: &'a Bound<'_, PyAny>) -> PyResult<T> {
    depythonize(value).map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

fn raised(error: PlacementError) -> PyErr {
    PyKeyError::new_err(error.to_string())
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct HostTable {
    table: RwLock<core::HostTable>,
}

impl HostTable {
    fn change<T>(&self, work: impl FnOnce(&mut core::HostTable) -> T) -> PyResult<T> {
        guarded(|| Ok(work(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))))
    }

    fn ask<T>(&self, work: impl FnOnce(&core::HostTable) -> T) -> PyResult<T> {
        guarded(|| Ok(work(&self.table.read().unwrap_or_else(PoisonError::into_inner))))
    }
}

#[pymethods]
impl HostTable {
    #[new]
    fn new() -> Self {
        Self { table: RwLock::default() }
    }

    fn __len__(&self) -> PyResult<usize> {
        self.ask(core::HostTable::len)
    }

    fn set_host(&self, host_id: &str, host: &Bound<'_, PyAny>) -> PyResult<()> {
        let spec = read("host", host)?;
        self.change(|table| table.set_host(host_id, spec))
    }

    fn remove_host(&self, host_id: &str) -> PyResult<bool> {
        self.change(|table| table.remove_host(host_id))
    }

    fn set_used(&self, host_id: &str, used: BTreeMap<String, i64>) -> PyResult<()> {
        self.change(|table| table.set_used(host_id, &used))?.map_err(raised)
    }

    fn add_used(&self, host_id: &str, delta: BTreeMap<String, i64>) -> PyResult<()> {
        self.change(|table| table.add_used(host_id, &delta))?.map_err(raised)
    }

    #[pyo3(signature = (request, *, seed = 0, limit = 10))]
    fn place(&self, request: &Bound<'_, PyAny>, seed: u64, limit: usize) -> PyResult<Decision> {
        let request = read("request", request)?;
        let decision = self.ask(|table| table.place(&request, seed, limit))?;
        Ok(Decision { decision })
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Decision {
    decision: core::Decision,
}

#[pymethods]
impl Decision {
    #[getter]
    fn hosts(&self) -> Vec<String> {
        self.decision.hosts.clone()
    }

    #[getter]
    fn rejected(&self) -> Vec<(String, usize)> {
        self.decision.rejected.clone()
    }

    #[getter]
    fn explanation(&self) -> Vec<String> {
        let plural = |count: usize| if count == 1 { "host" } else { "hosts" };
        let rejected = self.decision.rejected.iter();
        rejected.map(|(reason, count)| format!("{count} {}: {reason}", plural(*count))).collect()
    }

    fn __repr__(&self) -> String {
        format!("<Decision hosts={:?} rejected={:?}>", self.decision.hosts, self.decision.rejected)
    }
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HostTable>()?;
    module.add_class::<Decision>()
}
