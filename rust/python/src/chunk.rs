//! Binds the chunk crate: `Hasher`, `DigestPool`, `Chunker`, `Verifier`, and what is said of parts and of images.
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::thread::available_parallelism;

use ostro_chunk::{self as core, Algorithm, image};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict};

use crate::buffer::Bytes;
use crate::error::{Bug, guarded};
use crate::shared::{held, with};

/// Feeds shorter than this are hashed with the interpreter held: releasing it costs more than they do, and all seven digests of
/// them take less than 50 microseconds.
const DETACH_BYTES: usize = 8 * 1024;
/// Parts of an object from which on their digests together take longer than that.
const PARTS_LONG: usize = 50;
/// The same of checksums that are put together: each takes some microseconds if it is of another length than the one before.
const CHECKSUMS_LONG: usize = 6;

create_exception!(ostro._core, Corrupt, PyException, "A chunk's bytes aren't those it is named by.");

fn algorithm(name: &str) -> PyResult<Algorithm> {
    name.parse().map_err(|error| PyValueError::new_err(format!("{error}")))
}

fn algorithms(names: &[String]) -> PyResult<Vec<Algorithm>> {
    names.iter().map(|name| algorithm(name)).collect()
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
    with(py, lock, |_| data.as_slice().len() >= DETACH_BYTES, |thing| work(thing, data.as_slice()))
}

/// Reckon with an object's parts, with the interpreter released if that is long.
fn reckon<R: Send>(py: Python<'_>, long: bool, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    let run = || guarded(|| Ok(work()));
    if long { py.detach(run) } else { run() }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct DigestPool {
    pool: core::Pool<Bytes>,
}

#[pymethods]
impl DigestPool {
    #[new]
    fn new() -> Self {
        Self { pool: core::Pool::new(available_parallelism().map_or(1, usize::from)) }
    }

    fn update(&self, py: Python<'_>, hasher: &Bound<'_, Hasher>, data: Bytes) -> PyResult<()> {
        let hasher = hasher.get();
        let done = py.detach(|| guarded(|| Ok(self.pool.update(&mut held(&hasher.hasher), data))))?;
        done.map_err(|error| Bug::new_err(error.to_string()))
    }
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

/// See `_core.pyi`.
#[pyfunction]
fn update_together(py: Python<'_>, feeds: Vec<(Bound<'_, Hasher>, Bytes)>) -> PyResult<()> {
    // Each hasher is held until all are fed, so one that came twice would wait for itself.
    let places: BTreeSet<usize> = feeds.iter().map(|(hasher, _)| hasher.as_ptr() as usize).collect();
    if places.len() < feeds.len() {
        return Err(PyValueError::new_err("a hasher can't be fed twice at once"));
    }
    // All threads take hashers in one order, so that none waits for another that waits for it.
    let mut feeds: Vec<(&Hasher, &Bytes)> = feeds.iter().map(|(hasher, data)| (hasher.get(), data)).collect();
    feeds.sort_by_key(|(hasher, _)| std::ptr::from_ref(*hasher) as usize);
    py.detach(|| {
        guarded(|| {
            let mut guards: Vec<MutexGuard<'_, core::Hasher>> =
                feeds.iter().map(|(hasher, _)| held(&hasher.hasher)).collect();
            let streams = guards.iter_mut().zip(&feeds).map(|(guard, (_, data))| (&mut **guard, data.as_slice()));
            core::update_together(&mut streams.collect::<Vec<_>>());
            Ok(())
        })
    })
}

fn one(hasher: &core::Hasher, name: &str) -> PyResult<Vec<u8>> {
    hasher
        .digest(algorithm(name)?)
        .ok_or_else(|| PyKeyError::new_err(format!("{name} isn't among this hasher's digests")))
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

    #[staticmethod]
    #[pyo3(signature = (min_bytes, target_bytes, max_bytes, *, digests = Vec::new()))]
    fn by_content(min_bytes: u64, target_bytes: u64, max_bytes: u64, digests: Vec<String>) -> PyResult<Self> {
        let chunker = core::Chunker::by_content(min_bytes, target_bytes, max_bytes, &algorithms(&digests)?);
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

fn chunk_id(name: &str) -> PyResult<core::ChunkId> {
    let byte = |pair: &[u8; 2]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let (pairs, rest) = name.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let id = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
    id.ok_or_else(|| PyValueError::new_err(format!("a chunk's name is 64 hexadecimal digits, not {name:?}")))
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Verifier {
    verifier: Mutex<core::Verifier>,
}

#[pymethods]
impl Verifier {
    #[new]
    #[pyo3(signature = (chunk_id))]
    fn new(chunk_id: &str) -> PyResult<Self> {
        Ok(Self { verifier: Mutex::new(core::Verifier::new(self::chunk_id(chunk_id)?)) })
    }

    fn update(&self, py: Python<'_>, data: Bytes) -> PyResult<()> {
        feed(py, &self.verifier, &data, core::Verifier::update)
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = py.detach(|| guarded(|| Ok(held(&self.verifier).finish())))?;
        outcome.map_err(|error| Corrupt::new_err(error.to_string()))
    }
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, chunk_id))]
fn verify_chunk(py: Python<'_>, data: Bytes, chunk_id: &str) -> PyResult<()> {
    let id = self::chunk_id(chunk_id)?;
    let outcome = py.detach(|| guarded(|| Ok(core::verify(data.as_slice(), &id))))?;
    outcome.map_err(|error| Corrupt::new_err(error.to_string()))
}

/// See `_core.pyi`.
#[pyfunction]
fn multipart_etag(py: Python<'_>, md5s: Vec<Bytes>) -> PyResult<String> {
    let parts: Vec<&[u8]> = md5s.iter().map(Bytes::as_slice).collect();
    reckon(py, parts.len() > PARTS_LONG, || core::multipart_etag(&parts))?
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// See `_core.pyi`.
#[pyfunction]
fn slo_etag(py: Python<'_>, segments: Vec<(PyBackedStr, Option<PyBackedStr>)>) -> PyResult<String> {
    let segments: Vec<(&str, Option<&str>)> =
        segments.iter().map(|(etag, range)| (&**etag, range.as_deref())).collect();
    reckon(py, segments.len() > PARTS_LONG, || core::slo_etag(&segments))
}

/// See `_core.pyi`.
#[pyfunction]
fn composite_checksum<'py>(py: Python<'py>, name: &str, digests: Vec<Bytes>) -> PyResult<Bound<'py, PyBytes>> {
    let parts: Vec<&[u8]> = digests.iter().map(Bytes::as_slice).collect();
    let algorithm = algorithm(name)?;
    Ok(PyBytes::new(py, &reckon(py, parts.len() > PARTS_LONG, || core::composite(algorithm, &parts))?))
}

/// See `_core.pyi`.
#[pyfunction]
fn combined_checksum<'py>(py: Python<'py>, name: &str, parts: Vec<(Bytes, u64)>) -> PyResult<Bound<'py, PyBytes>> {
    let parts: Vec<(&[u8], u64)> = parts.iter().map(|(sum, length)| (sum.as_slice(), *length)).collect();
    let algorithm = algorithm(name)?;
    let sum = reckon(py, parts.len() > CHECKSUMS_LONG, || core::combined(algorithm, &parts))?;
    Ok(PyBytes::new(py, &sum.map_err(|error| PyValueError::new_err(error.to_string()))?))
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
    module.add("Corrupt", module.py().get_type::<Corrupt>())?;
    module.add_class::<Hasher>()?;
    module.add_class::<DigestPool>()?;
    module.add_class::<Verifier>()?;
    module.add_class::<Chunker>()?;
    module.add_class::<Piece>()?;
    module.add_function(wrap_pyfunction!(update_together, module)?)?;
    module.add_function(wrap_pyfunction!(verify_chunk, module)?)?;
    module.add_function(wrap_pyfunction!(multipart_etag, module)?)?;
    module.add_function(wrap_pyfunction!(slo_etag, module)?)?;
    module.add_function(wrap_pyfunction!(composite_checksum, module)?)?;
    module.add_function(wrap_pyfunction!(combined_checksum, module)?)?;
    module.add_function(wrap_pyfunction!(inspect_image, module)?)
}
