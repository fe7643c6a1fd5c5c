//! Bytes of Python objects, without a copy where that is sound.
//!
//! `bytes` can't change, so their memory is read in place with the interpreter released; so is a contiguous
//! `memoryview` of `bytes`. Any other buffer could be written to meanwhile, so it is copied first.
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMemoryView};

/// Immutable bytes that outlive the interpreter's lock.
pub struct Bytes {
    owner: PyBackedBytes,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.owner[self.start..self.end]
    }

    fn whole(owner: PyBackedBytes) -> Self {
        let end = owner.len();
        Self { owner, start: 0, end }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Bytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::whole(PyBackedBytes::from(bytes.to_owned())));
        }
        let buffer = PyBuffer::<u8>::get(&object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("the buffer must be contiguous"));
        }
        if let Some(bytes) = viewed(object, &buffer)? {
            return Ok(bytes);
        }
        let copy = PyBytes::new(object.py(), &buffer.to_vec(object.py())?);
        Ok(Self::whole(PyBackedBytes::from(copy)))
    }
}

/// The part of a `bytes` object that a memoryview shows, if that is what `object` is.
fn viewed(object: Borrowed<'_, '_, PyAny>, buffer: &PyBuffer<u8>) -> PyResult<Option<Bytes>> {
    let Ok(view) = object.cast::<PyMemoryView>() else { return Ok(None) };
    let Ok(bytes) = view.getattr("obj")?.cast_into::<PyBytes>() else { return Ok(None) };
    let owner = PyBackedBytes::from(bytes);
    let Some(start) = (buffer.buf_ptr() as usize).checked_sub(owner.as_ptr() as usize) else { return Ok(None) };
    let end = start + buffer.len_bytes();
    Ok((end <= owner.len()).then_some(Bytes { owner, start, end }))
}
