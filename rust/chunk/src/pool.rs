//! Streams of different threads whose MD5s are worked on together.
//!
//! Threads that hash at the same time meet here. One that finds a place free works on its own stream; the others
//! leave their blocks in the queue and wait, and whoever is done takes up to sixteen of them at once into the lanes
//! of [`crate::md5_lanes`] and hands the results out. Nothing waits for company: with one stream at a time a pool is
//! a lock and no more. There are as many places as processors.
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::hasher::Hasher;
use crate::md5::Words;
use crate::md5_lanes::{LANES, LANES_MIN};
use crate::together::{Job, run};

/// Feeds shorter than this aren't worth the queue.
const POOLED_BYTES_MIN: usize = 8 * 1024;

/// Blocks that wait: `data[start..end]`, owned, because another thread will read them.
struct Waiting<T> {
    ticket: u64,
    words: Words,
    data: T,
    start: usize,
    end: usize,
}

struct Queue<T> {
    free_places: usize,
    next_ticket: u64,
    waiting: VecDeque<Waiting<T>>,
    /// Words by ticket; `None` if the thread that worked on them panicked.
    done: HashMap<u64, Option<Words>>,
}

/// The thread that worked on this stream panicked: its digest is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that hashed this stream in company panicked")]
pub struct Lost;

/// Where streams of different threads meet.
pub struct Pool<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

impl<T: AsRef<[u8]>> Pool<T> {
    /// A pool with `places` threads at work at once, at least one.
    pub fn new(places: usize) -> Self {
        let queue =
            Queue { free_places: places.max(1), next_ticket: 0, waiting: VecDeque::new(), done: HashMap::new() };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    fn held(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feed a hasher. The outcome is that of [`Hasher::update`]; the time is shared with other threads.
    ///
    /// # Errors
    /// [`Lost`] if another thread panicked over it; the hasher is of no use then.
    pub fn update(&self, hasher: &mut Hasher, data: T) -> Result<(), Lost> {
        if data.as_ref().len() < POOLED_BYTES_MIN || !hasher.has_md5() {
            hasher.update(data.as_ref());
            return Ok(());
        }
        if self.take_place() {
            let _place = Place(self);
            hasher.update(data.as_ref());
            return Ok(());
        }
        self.update_in_company(hasher, data)
    }

    fn take_place(&self) -> bool {
        let mut queue = self.held();
        let is_free = queue.free_places > 0 && queue.waiting.is_empty();
        queue.free_places -= usize::from(is_free);
        is_free
    }

    /// Feed everything but MD5 at once, and leave MD5's whole blocks in the queue.
    fn update_in_company(&self, hasher: &mut Hasher, data: T) -> Result<(), Lost> {
        hasher.count(data.as_ref().len());
        let mut set = hasher.set();
        let Some(md5) = set.take_md5() else { return Ok(()) };
        set.update(data.as_ref());
        let (start, end) = {
            let rest = md5.fill_tail(data.as_ref());
            let start = data.as_ref().len() - rest.len();
            let (blocks, tail) = rest.as_chunks::<64>();
            md5.length += (blocks.len() * 64) as u64;
            md5.keep_tail(tail);
            (start, data.as_ref().len() - tail.len())
        };
        md5.words = self.wait(md5.words, data, start, end)?;
        Ok(())
    }

    /// Queue blocks and come back with their words; work on others' meanwhile if a place is free.
    fn wait(&self, words: Words, data: T, start: usize, end: usize) -> Result<Words, Lost> {
        let mut queue = self.held();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Waiting { ticket, words, data, start, end });
        loop {
            if let Some(words) = queue.done.remove(&ticket) {
                return words.ok_or(Lost);
            }
            if queue.free_places > 0 && !queue.waiting.is_empty() {
                queue.free_places -= 1;
                drop(queue);
                self.work();
                queue = self.held();
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Take what waits, as much as there are lanes, and hash it together.
    fn work(&self) {
        let _place = Place(self);
        let mut batch = self.batch();
        let jobs = batch.taken.iter_mut().map(|waiting| Job {
            words: &mut waiting.words,
            blocks: waiting.data.as_ref()[waiting.start..waiting.end].as_chunks::<64>().0,
        });
        run(jobs.collect());
        batch.finished = true;
    }

    fn batch(&self) -> Batch<'_, T> {
        let mut queue = self.held();
        // Two streams are hashed faster by two threads than together.
        let lanes = if queue.waiting.len() < LANES_MIN { 1 } else { LANES };
        let count = queue.waiting.len().min(lanes);
        Batch { pool: self, taken: queue.waiting.drain(..count).collect(), finished: false }
    }
}

/// Streams taken from the queue; handed back, finished or lost, when dropped.
struct Batch<'a, T: AsRef<[u8]>> {
    pool: &'a Pool<T>,
    taken: Vec<Waiting<T>>,
    finished: bool,
}

impl<T: AsRef<[u8]>> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        let outcome = |waiting: &Waiting<T>| (waiting.ticket, self.finished.then_some(waiting.words));
        self.pool.held().done.extend(self.taken.iter().map(outcome));
    }
}

/// A place taken; given back, and everybody told, when dropped.
struct Place<'a, T: AsRef<[u8]>>(&'a Pool<T>);

impl<T: AsRef<[u8]>> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.0.held().free_places += 1;
        self.0.changed.notify_all();
    }
}
