//! The socket: batches out, answers in.

use std::io;
use std::time::Duration;

use netlink_sys::Socket as RawSocket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::NetlinkError;
use super::message::Attributes;
use super::request::Request;

/// Messages sent by one system call. If all fail, the kernel queues as many answers of some 768 bytes before we can read the first,
/// and the default receive buffer has room for 270 of them.
const BATCH_MESSAGES: usize = 256;
/// The longest answer: the kernel fills parts of a dump up to this.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long an answer may take. The kernel has queued it before the send returns, except for parts of a dump.
const PATIENCE: Duration = Duration::from_secs(10);

const HEADER_BYTES: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Why the kernel would not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its error number.
    pub errno: i32,
    /// The reason in words.
    pub why: String,
}

/// One message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its type.
    pub kind: u16,
    /// The number of the message that it answers.
    pub number: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Goes over the messages of one datagram. None of them is cut off: what is, ends it.
pub struct Answers<'a>(pub &'a [u8]);

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = self.0.get(HEADER_BYTES..length)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let number = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind, number, body })
    }
}

/// Reads the body of an error: Some(None) if it says that all is well, None if it is cut off.
pub fn failure(body: &[u8]) -> Option<Option<Failure>> {
    const MESSAGE: u16 = 1;
    let code = i32::from_ne_bytes(*body.first_chunk()?);
    if code == 0 {
        return Some(None);
    }
    let errno = code.wrapping_neg();
    let said = Attributes(body.get(4 + HEADER_BYTES..).unwrap_or_default()).find(|(kind, _)| *kind == MESSAGE);
    let said = said.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    let error = io::Error::from_raw_os_error(errno);
    let why = said.map_or_else(|| error.to_string(), |said| format!("{said} ({error})"));
    Some(Some(Failure { errno, why }))
}

/// A netlink socket in one network namespace.
pub struct Socket {
    socket: RawSocket,
    last_number: u32,
    received: Vec<u8>,
    out: Vec<u8>,
}

impl Socket {
    /// Opens one in this thread's namespace.
    ///
    /// # Errors
    /// The system has none left.
    pub fn open() -> io::Result<Self> {
        let mut socket = RawSocket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_cap_ack(true)?;
        // Words for errors, and dumps that keep to what was asked: kernels before 4.20 have neither, and we do without.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, last_number: 0, received: Vec::with_capacity(ANSWER_BYTES), out: Vec::new() })
    }

    /// Sends requests in batches, and says of each in their order whether it failed.
    ///
    /// # Errors
    /// The socket failed; some may have been carried out.
    pub fn batch(&mut self, requests: impl Iterator<Item = Request>) -> Result<Vec<Option<Failure>>, NetlinkError> {
        let mut outcomes = Vec::new();
        let mut requests = requests.peekable();
        while requests.peek().is_some() {
            let first = self.last_number.wrapping_add(1);
            self.out.clear();
            let mut count = 0;
            while let Some(request) = requests.next() {
                self.last_number = self.last_number.wrapping_add(1);
                count += 1;
                let is_last = count == BATCH_MESSAGES || requests.peek().is_none();
                request.write(self.last_number, is_last, &mut self.out);
                if is_last {
                    break;
                }
            }
            let start = outcomes.len();
            outcomes.resize(start + count, None);
            self.send()?;
            self.settle(first, &mut outcomes[start..])?;
        }
        Ok(outcomes)
    }

    /// Reads what the kernel says of a batch, up to its last message.
    fn settle(&mut self, first: u32, outcomes: &mut [Option<Failure>]) -> Result<(), NetlinkError> {
        let last = self.last_number;
        loop {
            self.receive()?;
            for answer in Answers(&self.received).filter(|answer| answer.kind == ERROR) {
                let failed = failure(answer.body).ok_or(NetlinkError::CutOff)?;
                if let Some(outcome) = outcomes.get_mut(answer.number.wrapping_sub(first) as usize) {
                    *outcome = failed;
                }
                if answer.number == last {
                    return Ok(());
                }
            }
        }
    }

    /// Asks, and reads the body of each message of the answer: `read` says None of one that is cut off, Some(None) of one to be left
    /// out.
    ///
    /// # Errors
    /// The socket failed, the kernel refused, or an answer is cut off.
    pub fn dump<T>(
        &mut self,
        request: Request,
        read: impl Fn(&[u8]) -> Option<Option<T>>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.last_number = self.last_number.wrapping_add(1);
        self.out.clear();
        request.write(self.last_number, false, &mut self.out);
        self.send()?;
        let mut found = Vec::new();
        loop {
            self.receive()?;
            for answer in Answers(&self.received).filter(|answer| answer.number == self.last_number) {
                match answer.kind {
                    DONE => return Ok(found),
                    ERROR => {
                        return match failure(answer.body).ok_or(NetlinkError::CutOff)? {
                            None => Ok(found),
                            Some(failed) => Err(io::Error::from_raw_os_error(failed.errno).into()),
                        };
                    }
                    _ => found.extend(read(answer.body).ok_or(NetlinkError::CutOff)?),
                }
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.socket.send(&self.out, 0)?;
        if sent == self.out.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Waits for the next datagram.
    fn receive(&mut self) -> io::Result<()> {
        let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&patience)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.received.clear();
        self.socket.recv(&mut self.received, 0).map(drop)
    }
}
