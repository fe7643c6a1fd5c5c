//! Binds the placement crate: `HostTable`, `Request`, `Decision` and `Batch`.
use std::collections::BTreeMap;
use std::sync::Mutex;

use ostro_placement::{self as core, Explain, Mode, Order, PlacementError, Query};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyList, PyMapping};
use pythonize::depythonize;
use serde::Deserialize;

use crate::shared::{dispose, held, with};

create_exception!(ostro._core, NoRoom, PyException, "A claim doesn't fit any more; nothing was claimed.");

/// From so many hosts on a decision may take longer than 50 microseconds (one of a new shape looks at each for 2 to 7 ns), so it
/// releases the interpreter.
const HOSTS_LONG: usize = 5000;
/// From so many hosts on, saying why none does may.
const HOSTS_LONG_TO_EXPLAIN: usize = 500;
/// From so many servers on a batch does.
const SERVERS_LONG: usize = 16;
/// From so many hosts on that are named one by one, by a request, by its group or in the answer, a decision does.
const NAMED_LONG: usize = 200;
/// Hosts from which on adding or removing one does now and then, because what is kept by id grows, or is copied after a snapshot.
const HOSTS_LONG_TO_CHANGE: usize = 500;
/// CPUs taken on one host.
const CPUS_LONG: usize = 64;

fn read<T: for<'a> Deserialize<'a>>(what: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    depythonize(value).map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

fn raised(error: PlacementError) -> PyErr {
    match error {
        PlacementError::NotFound { .. } => PyKeyError::new_err(error.to_string()),
        PlacementError::Wrong { .. } => PyValueError::new_err(error.to_string()),
        PlacementError::NoRoom { .. } => NoRoom::new_err(error.to_string()),
    }
}

/// Class names and amounts of a mapping.
struct Amounts(Vec<(PyBackedStr, i64)>);

impl<'py> FromPyObject<'_, 'py> for Amounts {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let pair = |(class, amount): (Bound<'py, PyAny>, Bound<'py, PyAny>)| Ok((class.extract()?, amount.extract()?));
        match object.cast::<PyDict>() {
            Ok(dict) => dict.iter().map(pair).collect::<PyResult<_>>().map(Self),
            Err(_) => Ok(Self(object.cast::<PyMapping>()?.items()?.extract()?)),
        }
    }
}

fn borrowed(amounts: &Amounts) -> Vec<(&str, i64)> {
    amounts.0.iter().map(|(class, amount)| (&**class, *amount)).collect()
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Request {
    request: core::Request,
}

#[pymethods]
impl Request {
    #[new]
    fn new(request: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { request: read("request", request)? })
    }

    #[staticmethod]
    fn from_query(pairs: Vec<(PyBackedStr, PyBackedStr)>) -> PyResult<(Self, Option<usize>)> {
        let query = Query::read(pairs.iter().map(|(key, value)| (&**key, &**value)));
        let Query { request, limit } = query.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((Self { request }, limit))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.request)
    }
}

/// A request given as such or as a mapping.
enum Asked<'py> {
    Made(PyRef<'py, Request>),
    Read(Box<core::Request>),
}

impl Asked<'_> {
    fn request(&self) -> &core::Request {
        match self {
            Self::Made(request) => &request.request,
            Self::Read(request) => request,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Asked<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<Request>() {
            Ok(request) => Ok(Self::Made(request.borrow())),
            Err(_) => Ok(Self::Read(Box::new(read("request", &object)?))),
        }
    }
}

fn orders<'a>(asked: &'a [(Asked<'_>, usize)]) -> Vec<(&'a core::Request, usize)> {
    asked.iter().map(|(asked, count)| (asked.request(), *count)).collect()
}

fn as_orders<'a>(orders: &[(&'a core::Request, usize)]) -> Vec<Order<'a>> {
    orders.iter().map(|(request, count)| Order { request, count: *count }).collect()
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct HostTable {
    table: Mutex<core::HostTable>,
}

/// Whether a decision may take longer than 50 microseconds. On trees the number of choices tried is bounded, but not that low.
fn is_long(table: &core::HostTable, request: &core::Request, limit: usize, hosts: usize) -> bool {
    let named = request.only_hosts.as_ref().map_or(0, Vec::len) + request.not_hosts.len();
    let members = request.server_group.as_ref().map_or(0, |group| table.hosts_of_group(&group.id));
    table.len() > hosts || table.trees() > 0 || limit.max(named).max(members) > NAMED_LONG
}

impl Drop for HostTable {
    fn drop(&mut self) {
        let table = std::mem::take(&mut *held(&self.table));
        let long = table.len() > HOSTS_LONG_TO_CHANGE;
        dispose(table, long);
    }
}

impl HostTable {
    /// Work with the table. The interpreter is released while waiting for it, and while `long` work is done.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        long: impl FnOnce(&core::HostTable) -> bool,
        work: impl FnOnce(&mut core::HostTable) -> T + Send,
    ) -> PyResult<T> {
        with(py, &self.table, long, work)
    }

    fn quickly<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut core::HostTable) -> T + Send) -> PyResult<T> {
        self.with(py, |_| false, work)
    }
}

#[pymethods]
impl HostTable {
    #[new]
    fn new() -> Self {
        Self { table: Mutex::default() }
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.quickly(py, |table| table.len())
    }

    fn __contains__(&self, py: Python<'_>, host_id: &str) -> PyResult<bool> {
        self.quickly(py, |table| table.contains(host_id))
    }

    fn set_host(&self, py: Python<'_>, host_id: &str, host: &Bound<'_, PyAny>) -> PyResult<()> {
        let spec: core::HostSpec = read("host", host)?;
        let long = |table: &core::HostTable| table.len() > HOSTS_LONG_TO_CHANGE;
        self.with(py, long, |table| table.set_host(host_id, &spec))?.map_err(raised)
    }

    fn remove_host(&self, py: Python<'_>, host_id: &str) -> PyResult<bool> {
        self.with(py, |_| true, |table| table.remove_host(host_id))
    }

    fn set_enabled(&self, py: Python<'_>, host_id: &str, enabled: bool) -> PyResult<()> {
        self.quickly(py, |table| table.set_enabled(host_id, enabled))?.map_err(raised)
    }

    #[pyo3(signature = (host_id, used, *, provider = None))]
    fn set_used(&self, py: Python<'_>, host_id: &str, used: Amounts, provider: Option<&str>) -> PyResult<()> {
        self.quickly(py, |table| table.set_used(host_id, provider, &borrowed(&used)))?.map_err(raised)
    }

    #[pyo3(signature = (host_id, delta, *, provider = None))]
    fn add_used(&self, py: Python<'_>, host_id: &str, delta: Amounts, provider: Option<&str>) -> PyResult<()> {
        self.quickly(py, |table| table.add_used(host_id, provider, &borrowed(&delta)))?.map_err(raised)
    }

    fn set_cells_used(&self, py: Python<'_>, host_id: &str, taken: &Bound<'_, PyAny>) -> PyResult<()> {
        let taken: Vec<core::CellFit> = read("cells", taken)?;
        let cpus: usize = taken.iter().map(|fit| fit.pinned.len() + fit.blocked.len()).sum();
        self.with(py, |_| cpus > CPUS_LONG, |table| table.set_cells_used(host_id, &taken))?.map_err(raised)
    }

    fn set_group(&self, py: Python<'_>, group_id: &str, members: BTreeMap<String, u32>) -> PyResult<()> {
        let long = members.len() > NAMED_LONG;
        self.with(py, |_| long, |table| table.set_group(group_id, &members))?.map_err(raised)
    }

    fn add_member(&self, py: Python<'_>, group_id: &str, host_id: &str, delta: i32) -> PyResult<()> {
        self.quickly(py, |table| table.add_member(group_id, host_id, delta))?.map_err(raised)
    }

    fn claim(&self, py: Python<'_>, claim: &Bound<'_, PyAny>) -> PyResult<()> {
        let claim: core::Claim = read("claim", claim)?;
        self.quickly(py, |table| table.claim(&claim))?.map_err(raised)
    }

    fn release(&self, py: Python<'_>, claim: &Bound<'_, PyAny>) -> PyResult<()> {
        let claim: core::Claim = read("claim", claim)?;
        self.quickly(py, |table| table.release(&claim))?.map_err(raised)
    }

    #[pyo3(signature = (request, *, seed = 0, limit = 10, explain = None))]
    fn place(
        &self,
        py: Python<'_>,
        request: Asked<'_>,
        seed: u64,
        limit: usize,
        explain: Option<bool>,
    ) -> PyResult<Decision> {
        let request = request.request();
        let (first, if_none) = match explain {
            None => (Explain::Never, true),
            Some(true) => (Explain::Always, false),
            Some(false) => (Explain::Never, false),
        };
        let most = if first == Explain::Always { HOSTS_LONG_TO_EXPLAIN } else { HOSTS_LONG };
        let mut decision = self.with(
            py,
            |table| is_long(table, request, limit, most),
            |table| table.place(request, seed, limit, first),
        )?;
        if if_none && decision.as_ref().is_ok_and(|decision| decision.hosts.is_empty()) {
            let place = |table: &mut core::HostTable| table.place(request, seed, limit, Explain::IfNone);
            let long = |table: &core::HostTable| is_long(table, request, limit, HOSTS_LONG_TO_EXPLAIN);
            decision = self.with(py, long, place)?;
        }
        Ok(Decision { decision: decision.map_err(raised)? })
    }

    #[pyo3(signature = (orders, *, seed = 0, all_or_nothing = true, keep = false))]
    fn place_many(
        &self,
        py: Python<'_>,
        orders: Vec<(Asked<'_>, usize)>,
        seed: u64,
        all_or_nothing: bool,
        keep: bool,
    ) -> PyResult<Batch> {
        let orders = self::orders(&orders);
        let servers: usize = orders.iter().map(|(_, count)| count).sum();
        let mode = if all_or_nothing { Mode::AllOrNothing } else { Mode::BestEffort };
        let batch = self.with(
            py,
            |table| {
                let hosts = if servers > SERVERS_LONG { 0 } else { HOSTS_LONG_TO_EXPLAIN };
                orders.iter().any(|(request, _)| is_long(table, request, 1, hosts))
            },
            |table| table.place_many(&as_orders(&orders), seed, mode, keep),
        )?;
        Batch::new(py, batch.map_err(raised)?)
    }

    #[pyo3(signature = (host_id, orders, *, seed = 0))]
    fn drain(&self, py: Python<'_>, host_id: &str, orders: Vec<(Asked<'_>, usize)>, seed: u64) -> PyResult<Batch> {
        let orders = self::orders(&orders);
        let batch = self.with(py, |_| true, |table| table.drain(host_id, &as_orders(&orders), seed))?;
        Batch::new(py, batch.map_err(raised)?)
    }

    #[pyo3(signature = (request, *, limit = 1_000_000))]
    fn how_many(&self, py: Python<'_>, request: Asked<'_>, limit: usize) -> PyResult<usize> {
        let request = request.request();
        self.with(py, |_| true, |table| table.how_many(request, limit))?.map_err(raised)
    }

    #[pyo3(signature = (request, *, seed = 0, limit = 1000))]
    fn candidates<'py>(
        &self,
        py: Python<'py>,
        request: Asked<'_>,
        seed: u64,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let request = request.request();
        let found = self.with(py, |_| true, |table| table.candidates(request, seed, limit))?.map_err(raised)?;
        let claims = found.0.iter().map(|claim| claim_dict(py, claim)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, claims)
    }

    fn snapshot(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self { table: Mutex::new(self.with(py, |_| true, |table| table.snapshot())?) })
    }

    #[allow(clippy::panic, reason = "the seam's tests need a defect")]
    fn _panic(&self, py: Python<'_>, message: &str) -> PyResult<()> {
        self.quickly(py, |_| panic!("{message}"))
    }

    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |_| true, |table| table.bytes())
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
    fn hosts(&self) -> Vec<&str> {
        self.decision.hosts.iter().map(|host| &**host).collect()
    }

    #[getter]
    fn rejected(&self) -> Vec<(&str, usize)> {
        self.decision.rejected.iter().map(|rejection| (rejection.reason.as_str(), rejection.hosts)).collect()
    }

    #[getter]
    fn explanation(&self) -> Vec<String> {
        self.decision.rejected.iter().map(core::Rejection::sentence).collect()
    }

    #[pyo3(signature = (at = 0))]
    fn claim<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.decision.claim(at).map(|claim| claim_dict(py, &claim)).transpose()
    }

    fn __repr__(&self) -> String {
        format!("<Decision hosts={:?} explanation={:?}>", self.hosts(), self.explanation())
    }
}

fn claim_dict<'py>(py: Python<'py>, claim: &core::Claim) -> PyResult<Bound<'py, PyDict>> {
    pythonize::pythonize(py, claim)?.cast_into().map_err(|error| PyTypeError::new_err(error.to_string()))
}

/// See `_core.pyi`.
#[pyclass(frozen, get_all, module = "ostro._core")]
pub struct Batch {
    orders: Vec<Py<Decision>>,
    complete: bool,
}

impl Batch {
    fn new(py: Python<'_>, batch: core::Batch) -> PyResult<Self> {
        let orders = batch.orders.into_iter().map(|decision| Py::new(py, Decision { decision }));
        Ok(Self { orders: orders.collect::<PyResult<_>>()?, complete: batch.complete })
    }
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("NoRoom", module.py().get_type::<NoRoom>())?;
    module.add_class::<HostTable>()?;
    module.add_class::<Request>()?;
    module.add_class::<Decision>()?;
    module.add_class::<Batch>()
}
