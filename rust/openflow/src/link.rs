//! The thread that talks to the switch: a Unix socket, a queue of commands, and a descriptor that is readable when there is news.
//!
//! The thread waits in `poll` and does nothing while nothing happens. It connects again for as long as it lives, at once and then after
//! growing pauses, so a switch that is restarted is found again within a second.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ostro_flow::{Diff, Directory};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::WireError;
use crate::group::GroupMap;
use crate::session::{Command, Event, Session, Ticket};

/// The pause before the first attempt to connect again, doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the thread sleeps at most while it is connected: how often it looks whether the switch has gone quiet.
const TICK: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 1 << 18;

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    closed: bool,
}

struct Shared {
    inbox: Mutex<Inbox>,
    events: Mutex<Vec<Event>>,
    /// Readable when the inbox has something for the thread.
    wake: OwnedFd,
    /// Readable when there are events for whoever owns the link.
    news: OwnedFd,
}

/// A connection to a switch that keeps itself up. Dropping it ends the thread; the switch keeps its flows.
pub struct Link {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    last_ticket: Ticket,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an eventfd readable. It can only fail if the counter is full, and then it is readable already.
fn ring(fd: &OwnedFd) {
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}

fn silence(fd: &OwnedFd) {
    let _ = rustix::io::read(fd, &mut [0; 8]);
}

impl Link {
    /// Starts talking to the switch behind the socket `path`, whether it is there yet or not.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn open(path: PathBuf, directory: Directory) -> std::io::Result<Self> {
        let fd = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let shared = Arc::new(Shared { inbox: Mutex::default(), events: Mutex::default(), wake: fd()?, news: fd()? });
        let worker = Worker { shared: shared.clone(), session: Session::new(directory, Instant::now()), path };
        let thread = std::thread::Builder::new().name("openflow".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread), last_ticket: 0 })
    }

    /// A descriptor that is readable when [`Link::take_events`] has something to give.
    #[must_use]
    pub fn news(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// What has happened since this was last called.
    pub fn take_events(&mut self) -> Vec<Event> {
        silence(&self.shared.news);
        std::mem::take(&mut *lock(&self.shared.events))
    }

    /// Carries `changes` out; see [`Command::Sync`].
    pub fn sync(&mut self, changes: Diff, fresh_zones: Vec<u16>) -> Ticket {
        self.ask(|ticket| Command::Sync { ticket, changes, fresh_zones })
    }

    /// Has exactly these groups; see [`Command::Groups`].
    pub fn groups(&mut self, groups: GroupMap) -> Ticket {
        self.ask(|ticket| Command::Groups { ticket, groups })
    }

    /// Compares and mends; see [`Command::Audit`].
    pub fn audit(&mut self) -> Ticket {
        self.ask(|ticket| Command::Audit { ticket })
    }

    /// Reads flows and groups; see [`Command::Dump`].
    pub fn dump(&mut self) -> Ticket {
        self.ask(|ticket| Command::Dump { ticket })
    }

    fn ask(&mut self, command: impl FnOnce(Ticket) -> Command) -> Ticket {
        self.last_ticket += 1;
        lock(&self.shared.inbox).commands.push(command(self.last_ticket));
        ring(&self.shared.wake);
        self.last_ticket
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.shared.inbox).closed = true;
        ring(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    session: Session,
    path: PathBuf,
}

/// Why a connection ends.
enum End {
    Closed,
    Lost(String),
}

impl Worker {
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let end = match self.connect() {
                Ok(stream) => self.converse(&stream),
                Err(error) => End::Lost(error.to_string()),
            };
            let End::Lost(why) = end else { return };
            self.session.disconnected(&why);
            self.tell();
            pause = if started.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            if self.rest(pause) {
                return;
            }
        }
    }

    fn connect(&mut self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_nonblocking(true)?;
        self.session.connected(Instant::now());
        Ok(stream)
    }

    /// Waits before the next attempt, still taking commands. Says whether the link has been closed.
    fn rest(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            wait(&mut [PollFd::new(&self.shared.wake, PollFlags::IN)], left);
            if self.take_commands() {
                return true;
            }
        }
    }

    fn converse(&mut self, stream: &UnixStream) -> End {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if self.take_commands() {
                let _ = self.write(stream);
                return End::Closed;
            }
            match self.exchange(stream, &mut buffer) {
                Ok(()) => self.tell(),
                Err(why) => return End::Lost(why.to_string()),
            }
            let sending = !self.session.outgoing().pending().is_empty();
            let interest = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            wait(&mut [PollFd::new(stream, interest), PollFd::new(&self.shared.wake, PollFlags::IN)], TICK);
        }
    }

    /// Reads what has come and sends what can be sent, without waiting for either.
    fn exchange(&mut self, stream: &UnixStream, buffer: &mut [u8]) -> Result<(), WireError> {
        self.write(stream)?;
        while let Some(count) = would_block(Read::read(&mut &*stream, buffer))? {
            if count == 0 {
                return Err(WireError::Gone);
            }
            self.session.receive(&buffer[..count], Instant::now())?;
        }
        self.session.tick(Instant::now())?;
        self.write(stream)
    }

    fn write(&mut self, mut stream: &UnixStream) -> Result<(), WireError> {
        let out = self.session.outgoing();
        while !out.pending().is_empty() {
            let Some(count) = would_block(stream.write(out.pending()))? else { break };
            out.advance(count);
        }
        Ok(())
    }

    /// Takes new commands. Says whether the link has been closed.
    fn take_commands(&mut self) -> bool {
        silence(&self.shared.wake);
        let (commands, closed) = {
            let mut inbox = lock(&self.shared.inbox);
            (std::mem::take(&mut inbox.commands), inbox.closed)
        };
        for command in commands {
            self.session.command(command);
        }
        self.tell();
        closed
    }

    /// Hands events over.
    fn tell(&mut self) {
        let events = self.session.take_events();
        if !events.is_empty() {
            lock(&self.shared.events).extend(events);
            ring(&self.shared.news);
        }
    }
}

/// None where there is nothing to be read or no room to be written to.
fn would_block(result: std::io::Result<usize>) -> Result<Option<usize>, WireError> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(WireError::Socket(error)),
    }
}

fn wait(fds: &mut [PollFd<'_>], most: Duration) {
    let timeout = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: most.subsec_nanos().into() };
    // An interrupted wait is a short one; every caller looks again.
    let _ = poll(fds, Some(&timeout));
}
