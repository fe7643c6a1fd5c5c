//! The conversation with a switch, without the socket: bytes and commands in, bytes and events out.
//!
//! The session holds the flows and groups that the switch **should** have. It never assumes what the switch has: after every connect it asks,
//! compares, and sends the difference, in one atomic bundle. From then on each change goes out as its own difference, one bundle at a
//! time; changes that come while one is under way are sent together afterwards. Before the first [`Command::Sync`] no flow is
//! compared and none sent, so connecting alone changes no flow of a switch that an earlier program has filled; nor any group before the
//! first [`Command::Groups`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ostro_flow::ledger::{apply, diff};
use ostro_flow::program::Program;
use ostro_flow::{Change, Diff, Directory, FlowMap, Question};

use crate::WireError;
use crate::batch::Batch;
pub use crate::event::{Command, Counts, Event, Ticket};
use crate::group::{self, GroupMap, group_dump};
use crate::throttle::Throttle;
use crate::wire::{self, Bundle, COOKIE, COOKIE_MASK, HeldFlow, Message, Writer, kind};
use crate::work::{Due, Dump, Purpose, Work};

/// A switch that has said nothing for this long is asked whether it is there.
const QUIET: Duration = Duration::from_secs(5);
/// A switch that has said nothing for this long is given up. Swallowing 100,000 flows takes it about 2 s.
const DEAD: Duration = Duration::from_secs(30);
/// How often routers advertise themselves unasked; they are believed for half an hour.
const ADVERTISE: Duration = Duration::from_secs(300);
/// Marks the number of a router where that of a port is expected.
const ROUTERS: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    Greeting,
    Ready,
}

/// See the module.
pub struct Session {
    phase: Phase,
    desired: FlowMap,
    desired_groups: GroupMap,
    /// Whether a sync has ever said which flows the switch should have.
    primed: bool,
    /// The same of groups.
    groups_primed: bool,
    /// Whether the switch is known to have it, but for what is queued.
    in_step: bool,
    work: Option<Work>,
    queue: VecDeque<Due>,
    received: Vec<u8>,
    out: Writer,
    events: Vec<Event>,
    directory: Directory,
    throttle: Throttle,
    last_xid: u32,
    heard: Instant,
    asked: bool,
    advertised: Instant,
}

impl Session {
    /// A session without a switch. `directory` answers the packets that the switch sends up.
    #[must_use]
    pub fn new(directory: Directory, now: Instant) -> Self {
        Self {
            phase: Phase::Offline,
            desired: FlowMap::default(),
            desired_groups: GroupMap::new(),
            primed: false,
            groups_primed: false,
            in_step: false,
            work: None,
            queue: VecDeque::new(),
            received: Vec::new(),
            out: Writer::default(),
            events: Vec::new(),
            directory,
            throttle: Throttle::default(),
            last_xid: 0,
            heard: now,
            asked: false,
            advertised: now,
        }
    }

    /// A connection to a switch stands.
    pub fn connected(&mut self, now: Instant) {
        self.phase = Phase::Greeting;
        self.received.clear();
        self.out = Writer::default();
        self.heard = now;
        self.asked = false;
        let xid = self.next_xid();
        self.out.hello(xid);
    }

    /// The connection is gone. Whoever waits is told so.
    pub fn disconnected(&mut self, why: &str) {
        if self.phase == Phase::Ready {
            self.events.push(Event::Disconnected(why.to_owned()));
        }
        self.phase = Phase::Offline;
        self.in_step = false;
        self.out = Writer::default();
        if let Some(work) = self.work.take() {
            for ticket in work.tickets() {
                self.events.push(Event::Away { ticket });
            }
        }
        for due in std::mem::take(&mut self.queue) {
            let (Due::Changes { ticket, .. } | Due::Audit(ticket) | Due::Dump(ticket)) = due;
            self.events.push(Event::Away { ticket });
        }
    }

    /// Takes a command. What a sync asks for is kept even while the switch is away.
    pub fn command(&mut self, command: Command) {
        let ticket = command.ticket();
        let due = match command {
            Command::Sync { ticket, changes: flows, fresh_zones } => {
                apply(&flows, &mut self.desired);
                self.in_step &= self.primed;
                self.primed = true;
                Due::Changes { ticket, groups: Vec::new(), flows, fresh_zones }
            }
            Command::Groups { ticket, groups: wanted } => {
                let groups = group::diff(&self.desired_groups, &wanted);
                self.desired_groups = wanted;
                self.in_step &= self.groups_primed;
                self.groups_primed = true;
                Due::Changes { ticket, groups, flows: Vec::new(), fresh_zones: Vec::new() }
            }
            Command::Audit { ticket } => Due::Audit(ticket),
            Command::Dump { ticket } => Due::Dump(ticket),
        };
        if self.phase == Phase::Offline {
            self.events.push(Event::Away { ticket });
            return;
        }
        self.queue.push_back(due);
        self.proceed();
    }

    /// Takes bytes from the switch.
    ///
    /// # Errors
    /// They make no sense; the connection is to be closed.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<(), WireError> {
        self.heard = now;
        self.asked = false;
        let mut buffer = std::mem::take(&mut self.received);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((message, length)) = Message::split(&buffer[at..])? {
            at += length;
            self.message(&message, now)?;
        }
        buffer.drain(..at);
        self.received = buffer;
        Ok(())
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The switch has been silent for too long; the connection is to be closed.
    pub fn tick(&mut self, now: Instant) -> Result<(), WireError> {
        let silent = now.saturating_duration_since(self.heard);
        if self.phase != Phase::Offline && silent >= DEAD {
            return Err(WireError::Silent(silent.as_secs()));
        }
        if self.phase == Phase::Ready && silent >= QUIET && !self.asked {
            self.asked = true;
            let xid = self.next_xid();
            self.out.echo(xid);
        }
        if self.phase == Phase::Ready {
            self.advertise(now);
        }
        Ok(())
    }

    /// What is to be sent.
    pub fn outgoing(&mut self) -> &mut Writer {
        &mut self.out
    }

    /// What has happened since this was last called.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn next_xid(&mut self) -> u32 {
        self.last_xid = self.last_xid.wrapping_add(1);
        self.last_xid
    }

    fn message(&mut self, message: &Message<'_>, now: Instant) -> Result<(), WireError> {
        match message.kind {
            kind::HELLO => {
                let (config, features) = (self.next_xid(), self.next_xid());
                self.out.set_config(config);
                self.out.features(features);
            }
            kind::FEATURES_REPLY => {
                self.phase = Phase::Ready;
                self.events.push(Event::Connected);
                self.proceed();
            }
            kind::ECHO_REQUEST => self.out.echo_reply(message.xid, message.body),
            kind::PACKET_IN => self.packet_in(message.body, now)?,
            kind::PORT_STATUS => self.events.push(Event::Port(wire::port_status(message.body)?)),
            kind::MULTIPART_REPLY => self.dumped(message)?,
            kind::BUNDLE_CONTROL => self.bundle_control(message)?,
            kind::BARRIER_REPLY => self.barrier_reply(message.xid),
            kind::ERROR => self.error(message)?,
            _ => {}
        }
        Ok(())
    }

    fn packet_in(&mut self, body: &[u8], now: Instant) -> Result<(), WireError> {
        let packet = wire::packet_in(body)?;
        let [network, router, _, _, next_hop @ ..] = packet.registers;
        // A routed packet comes from no port any more: then it counts against its router.
        let payer = if packet.in_port == 0 { ROUTERS | router } else { packet.in_port };
        if packet.cookie & COOKIE_MASK != COOKIE || !self.throttle.admit(payer, now) {
            return Ok(());
        }
        let mut hop = [0; 16];
        hop.as_chunks_mut().0.iter_mut().zip(next_hop).for_each(|(word, value)| *word = value.to_be_bytes());
        let (table, in_port, frame) = (packet.table, packet.in_port, packet.frame);
        let question = Question { table, in_port, network, router, next_hop: hop, frame };
        if let Some(reply) = self.directory.reply(&question) {
            let xid = self.next_xid();
            self.out.packet_out(xid, &reply.program, &reply.frame);
        }
        Ok(())
    }

    /// Has routers advertise themselves: to all guests now and then, to those who are to hear news at once.
    fn advertise(&mut self, now: Instant) {
        let all = now.saturating_duration_since(self.advertised) >= ADVERTISE;
        if all {
            self.advertised = now;
        }
        for (port, frame) in self.directory.adverts(all) {
            let xid = self.next_xid();
            self.out.packet_out(xid, &Program::new().output(port), &frame);
        }
    }

    /// Starts what is due, if nothing is under way.
    fn proceed(&mut self) {
        while self.phase == Phase::Ready && self.work.is_none() {
            if (self.primed || self.groups_primed) && !self.in_step {
                self.start_dump(None, None);
                return;
            }
            match self.queue.pop_front() {
                None => return,
                Some(Due::Dump(ticket)) => self.start_dump(None, Some(ticket)),
                Some(Due::Audit(ticket)) => self.start_dump(Some(ticket), None),
                Some(Due::Changes { ticket, groups, flows, fresh_zones }) => {
                    let (tickets, flows) = self.gather(ticket, flows, fresh_zones);
                    self.send(Batch::new(groups, flows), Purpose::Sync(tickets));
                }
            }
        }
    }

    fn start_dump(&mut self, audit: Option<Ticket>, show: Option<Ticket>) {
        let (groups_xid, flows_xid) = (self.next_xid(), self.next_xid());
        self.out.dump_groups(groups_xid);
        self.out.dump_flows(flows_xid);
        let unanswered = vec![groups_xid, flows_xid];
        let (groups, flows) = (GroupMap::new(), Vec::new());
        self.work = Some(Work::Dump(Dump { groups_xid, flows_xid, unanswered, groups, flows, audit, show }));
    }

    /// Joins the syncs that stand next in the queue to one. Changes of groups keep to themselves: one may undo another.
    fn gather(&mut self, ticket: Ticket, changes: Diff, zones: Vec<u16>) -> (Vec<Ticket>, Diff) {
        let (mut tickets, mut changes) = (vec![ticket], changes);
        self.flush_zones(&zones);
        while matches!(self.queue.front(), Some(Due::Changes { groups, .. }) if groups.is_empty()) {
            let Some(Due::Changes { ticket, flows, fresh_zones, .. }) = self.queue.pop_front() else { break };
            tickets.push(ticket);
            changes.extend(flows);
            self.flush_zones(&fresh_zones);
        }
        (tickets, changes)
    }

    fn flush_zones(&mut self, zones: &[u16]) {
        for zone in zones {
            let xid = self.next_xid();
            self.out.flush_zone(xid, *zone);
        }
    }

    /// Takes all changes out of the queue: what they want is among what is desired.
    fn absorb_syncs(&mut self) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for due in std::mem::take(&mut self.queue) {
            match due {
                Due::Changes { ticket, fresh_zones, .. } => {
                    tickets.push(ticket);
                    self.flush_zones(&fresh_zones);
                }
                other => self.queue.push_back(other),
            }
        }
        tickets
    }

    fn dumped(&mut self, message: &Message<'_>) -> Result<(), WireError> {
        let Some(Work::Dump(dump)) = &mut self.work else { return Ok(()) };
        let more = match message.xid {
            xid if xid == dump.groups_xid => group_dump(message.body, &mut dump.groups)?,
            xid if xid == dump.flows_xid => wire::flow_dump(message.body, &mut dump.flows)?,
            _ => true,
        };
        if !more {
            self.answered(message.xid);
        }
        Ok(())
    }

    /// One of the questions of a dump has been answered in full.
    fn answered(&mut self, xid: u32) {
        let Some(Work::Dump(dump)) = &mut self.work else { return };
        dump.unanswered.retain(|unanswered| *unanswered != xid);
        if !dump.unanswered.is_empty() {
            return;
        }
        let Some(Work::Dump(Dump { groups, mut flows, audit, show, .. })) = self.work.take() else { return };
        if let Some(ticket) = show {
            flows.sort_unstable_by(|a, b| a.flow.key.cmp(&b.flow.key));
            self.events.push(Event::Dumped { ticket, flows, groups });
        } else if self.primed || self.groups_primed {
            self.mend(&groups, flows, audit);
        } else if let Some(ticket) = audit {
            self.events.push(Event::Audited { ticket, drift: Vec::new() });
        }
        self.proceed();
    }

    /// Sends what the switch lacks, or has and should not.
    fn mend(&mut self, groups: &GroupMap, flows: Vec<HeldFlow>, audit: Option<Ticket>) {
        let held: FlowMap = flows.into_iter().map(|held| (held.flow.key, held.flow.instructions)).collect();
        let tickets = self.absorb_syncs();
        let mut changes = if self.primed { diff(&held, &self.desired) } else { Vec::new() };
        let groups = if self.groups_primed { group::diff(groups, &self.desired_groups) } else { Vec::new() };
        // What goes, goes first: a flow that the switch shows in another shape than ours is then replaced, not lost.
        changes.sort_by_key(|change| !matches!(change, Change::Remove(_)));
        let changes = Batch::new(groups, changes);
        self.in_step = true;
        let purpose = match audit {
            Some(ticket) => Purpose::Audit(ticket, changes.drift(), tickets),
            None => Purpose::Sync(tickets),
        };
        self.send(changes, purpose);
    }

    fn send(&mut self, changes: Batch, purpose: Purpose) {
        if changes.is_empty() {
            self.sent(&changes, purpose, Vec::new());
            return;
        }
        let id = self.next_xid();
        self.out.bundle(id, id, Bundle::Open);
        let first_xid = self.last_xid.wrapping_add(1);
        changes.each(|write| {
            let xid = self.next_xid();
            self.out.bundle_add(xid, id, write);
        });
        let last_xid = self.next_xid();
        self.out.bundle(last_xid, id, Bundle::Commit);
        self.work = Some(Work::Send { first_xid, last_xid, bundled: true, changes, purpose, refused: Vec::new() });
    }

    fn sent(&mut self, changes: &Batch, purpose: Purpose, refused: Vec<String>) {
        let sent = changes.counts();
        let (tickets, audit) = match purpose {
            Purpose::Sync(tickets) => (tickets, None),
            Purpose::Audit(ticket, drift, tickets) => (tickets, Some((ticket, drift))),
        };
        if tickets.is_empty() && audit.is_none() && (sent != Counts::default() || !refused.is_empty()) {
            self.events.push(Event::Refilled { sent, refused: refused.clone() });
        }
        if let Some((ticket, drift)) = audit {
            self.events.push(Event::Audited { ticket, drift });
        }
        for ticket in tickets {
            self.events.push(Event::Synced { ticket, sent, refused: refused.clone() });
        }
    }

    fn bundle_control(&mut self, message: &Message<'_>) -> Result<(), WireError> {
        let (_, what) = wire::bundle_control(message.body)?;
        let committed = what == Bundle::Committed as u16;
        let expected =
            matches!(&self.work, Some(Work::Send { last_xid, bundled: true, .. }) if *last_xid == message.xid);
        if committed && expected {
            self.finish_send();
        }
        Ok(())
    }

    fn barrier_reply(&mut self, xid: u32) {
        if matches!(&self.work, Some(Work::Send { last_xid, bundled: false, .. }) if *last_xid == xid) {
            self.finish_send();
        }
    }

    fn finish_send(&mut self) {
        if let Some(Work::Send { changes, purpose, refused, .. }) = self.work.take() {
            self.sent(&changes, purpose, refused);
        }
        self.proceed();
    }

    /// A bundle that fails, fails whole; its changes then go one by one, so that one bad flow holds up no other.
    fn error(&mut self, message: &Message<'_>) -> Result<(), WireError> {
        let (class, code) = wire::error(message.body)?;
        if let Some(Work::Dump(dump)) = &self.work {
            // A switch that knows no groups has none; one that won't tell its flows is none for us.
            if message.xid == dump.flows_xid {
                return Err(WireError::Unexpected("the switch does not tell its flows"));
            }
            if message.xid == dump.groups_xid {
                self.answered(message.xid);
            }
            return Ok(());
        }
        let Some(Work::Send { first_xid, last_xid, bundled, changes, refused, .. }) = &mut self.work else {
            return Ok(());
        };
        if *bundled {
            if message.xid == *last_xid {
                self.send_one_by_one();
            }
            return Ok(());
        }
        let index = message.xid.wrapping_sub(*first_xid) as usize;
        if let Some(change) = changes.words(index) {
            refused.push(format!("{change} (error {class}/{code})"));
        }
        Ok(())
    }

    fn send_one_by_one(&mut self) {
        let Some(Work::Send { changes, purpose, .. }) = self.work.take() else { return };
        let first_xid = self.last_xid.wrapping_add(1);
        changes.each(|write| {
            let xid = self.next_xid();
            write(&mut self.out, xid);
        });
        let last_xid = self.next_xid();
        self.out.barrier(last_xid);
        self.work = Some(Work::Send { first_xid, last_xid, bundled: false, changes, purpose, refused: Vec::new() });
    }
}
