//! What threads share, worked on without keeping the interpreter from others for longer than some 50 microseconds.
//!
//! Converting Python's objects needs the interpreter and is the caller's own size; everything else that can take longer lets go of it: long
//! work, waiting for another thread's, and giving back the memory of something big.
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use pyo3::prelude::*;

use crate::error::guarded;

/// The lock, whether somebody panicked with it or not: what is behind it stays usable.
pub fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work with what the lock guards. The interpreter is released while waiting for it, and while `long` work is done.
pub fn with<T: Send, R: Send>(
    py: Python<'_>,
    lock: &Mutex<T>,
    long: impl FnOnce(&T) -> bool,
    work: impl FnOnce(&mut T) -> R + Send,
) -> PyResult<R> {
    let free = match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    match free {
        Some(mut guard) if !long(&guard) => guarded(|| Ok(work(&mut guard))),
        free => {
            drop(free);
            py.detach(|| guarded(|| Ok(work(&mut held(lock)))))
        }
    }
}

/// Give something's memory back, in a thread of its own if that takes `long`: Python calls destructors with the interpreter held.
pub fn dispose<T: Send + 'static>(thing: T, long: bool) {
    if long {
        // Without a thread it is dropped here, which is merely slower.
        let _ = thread::Builder::new().name("dispose".to_owned()).spawn(move || drop(thing));
    }
}
