//! Binds the chunk crate: `Hasher`, `Chunker` and `inspect_image`.
use std::sync::{Mutex, MutexGuard, PoisonError};

use ostro_chunk::{self as core, Algorithm, image};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::buffer::Bytes;
use crate::error::guarded;

/// Feeds shorter than this are hashed with the interpreter held: releasing it costs more than they do.
const DETACH_BYTES: usize = 16 * 1024;

fn algorithms(names: &[String]) -> PyResult<Vec<Algorithm>> {
    let parse = |name: &String| name.parse().map_err(|error| PyValueError::new_err(format!("{error}")));
    names.iter().map(parse).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hold the lock and run `work`, with the interpreter released if the feed is long.
fn feed<T: Send, R: Send>(
    py: Python<'_>,
    lock: &Mutex<T>,
    data: &Bytes,
    work: impl FnOnce(&mut T, &[u8]) -> R + Send,
) -> PyResult<R> {
    let run = || guarded(|| Ok(work(&mut held(lock), data.as_slice())));
    if data.as_slice().len() < DETACH_BYTES { run() } else { py.detach(run) }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Hasher {
    hasher: Mutex<core::Hasher>,
}

#[pymethods]
impl Hasher {
    #[new]
    #[pyo3(signature = (*names))]
    fn new(names: Vec<String>) -> PyResult<Self> {
        Ok(Self { hasher: Mutex::new(core::Hasher::new(&algorithms(&names)?)) })
    }

    fn update(&self, py: Python<'_>, data: Bytes) -> PyResult<()> {
        feed(py, &self.hasher, &data, core::Hasher::update)
    }

    #[getter]
    fn length(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.hasher).length())
    }

    #[getter]
    fn algorithms(&self, py: Python<'_>) -> Vec<&'static str> {
        py.detach(|| held(&self.hasher).algorithms().map(Algorithm::name).collect())
    }

    fn digest<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyBytes>> {
        let digest = py.detach(|| one(&held(&self.hasher), name))?;
        Ok(PyBytes::new(py, &digest))
    }

    fn hexdigest(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        py.detach(|| one(&held(&self.hasher), name).map(|digest| hex(&digest)))
    }

    fn digests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let digests = py.detach(|| held(&self.hasher).digests());
        named(py, &digests)
    }

    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let state = py.detach(|| held(&self.hasher).state());
        PyBytes::new(py, &state)
    }

    #[staticmethod]
    fn from_state(state: Bytes) -> PyResult<Self> {
        let hasher = guarded(|| Ok(core::Hasher::from_state(state.as_slice())))?;
        let hasher = hasher.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { hasher: Mutex::new(hasher) })
    }

    fn copy(&self, py: Python<'_>) -> Self {
        Self { hasher: Mutex::new(py.detach(|| held(&self.hasher).clone())) }
    }
}

fn one(hasher: &core::Hasher, name: &str) -> PyResult<Vec<u8>> {
    let algorithm = name.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?;
    hasher.digest(algorithm).ok_or_else(|| PyKeyError::new_err(format!("{name} isn't among this hasher's digests")))
}

fn named<'py>(py: Python<'py>, digests: &[(Algorithm, Vec<u8>)]) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    for (algorithm, digest) in digests {
        result.set_item(algorithm.name(), hex(digest))?;
    }
    Ok(result)
}

/// See `_core.pyi`.
#[pyclass(frozen, get_all, module = "ostro._core")]
pub struct Piece {
    start: usize,
    end: usize,
    index: u64,
    offset: u64,
    chunk_id: Option<String>,
}

impl From<core::Piece> for Piece {
    fn from(piece: core::Piece) -> Self {
        let core::Piece { start, end, index, offset, id } = piece;
        Self { start, end, index, offset, chunk_id: id.map(|id| hex(&id)) }
    }
}

#[pymethods]
impl Piece {
    fn __repr__(&self) -> String {
        let Self { start, end, index, offset, chunk_id } = self;
        format!("<Piece [{start}:{end}] of chunk {index} at {offset} id={}>", chunk_id.as_deref().unwrap_or("-"))
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Chunker {
    chunker: Mutex<core::Chunker>,
}

#[pymethods]
impl Chunker {
    #[new]
    #[pyo3(signature = (chunk_bytes = core::CHUNK_BYTES_DEFAULT, *, digests = Vec::new()))]
    fn new(chunk_bytes: u64, digests: Vec<String>) -> PyResult<Self> {
        let chunker = core::Chunker::new(chunk_bytes, &algorithms(&digests)?);
        let chunker = chunker.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { chunker: Mutex::new(chunker) })
    }

    fn feed(&self, py: Python<'_>, data: Bytes) -> PyResult<Vec<Piece>> {
        let pieces = feed(py, &self.chunker, &data, core::Chunker::feed)?;
        Ok(pieces.into_iter().map(Piece::from).collect())
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Option<(String, u64)>> {
        let last = py.detach(|| guarded(|| Ok(held(&self.chunker).finish())))?;
        Ok(last.map(|(id, length)| (hex(&id), length)))
    }

    #[getter]
    fn length(&self, py: Python<'_>) -> u64 {
        py.detach(|| held(&self.chunker).length())
    }

    fn hexdigest(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        py.detach(|| one(held(&self.chunker).whole(), name).map(|digest| hex(&digest)))
    }

    fn digests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let digests = py.detach(|| held(&self.chunker).whole().digests());
        named(py, &digests)
    }
}

/// See `_core.pyi`.
#[pyfunction]
fn inspect_image<'py>(py: Python<'py>, header: Bytes) -> PyResult<Bound<'py, PyDict>> {
    let info = guarded(|| Ok(image::inspect(header.as_slice())))?;
    let result = PyDict::new(py);
    result.set_item("format", info.format.name())?;
    result.set_item("virtual_size_bytes", info.virtual_size_bytes)?;
    result.set_item("backing_file", info.backing_file)?;
    result.set_item("data_file", info.data_file)?;
    result.set_item("encrypted", info.encrypted)?;
    result.set_item("also", info.also.iter().map(|format| format.name()).collect::<Vec<_>>())?;
    result.set_item("safe", info.is_safe())?;
    result.set_item("dangers", info.dangers)?;
    Ok(result)
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("IMAGE_HEADER_BYTES", image::IMAGE_HEADER_BYTES)?;
    module.add("CHUNK_BYTES_DEFAULT", core::CHUNK_BYTES_DEFAULT)?;
    module.add_class::<Hasher>()?;
    module.add_class::<Chunker>()?;
    module.add_class::<Piece>()?;
    module.add_function(wrap_pyfunction!(inspect_image, module)?)
}
