//! The pipeline: which tables there are, in the order in which packets meet them, and what the registers mean.
//!
//! ```text
//!  from a guest                                   from a tunnel or provider bridge
//!      |                                                     |
//!  classify ─ guard ─ arp ─ services ─ send-track ─ send-filter ─ send-verdict
//!                              |                                   |
//!                        (controller, metadata)                    |
//!                                                                  |
//!                       route-* ───────────────── deliver ── flood, flood-ports, flood-hosts, flood-open
//!                                                    |
//!                     receive-track ─ receive-filter ─ receive-verdict ─ commit ─ output
//!
//!  route-enter ─ route-local ──────────── route ─ route-out ─ translate ─ next-hop ─ forward (to deliver, in another network)
//!                     |                     |                                 |
//!                 route-in (ct, nat) ───────                              neighbours
//! ```
//!
//! `groups`, `members` and `rules` are subroutines that both filters call. **Filtering** works so: a filter flow of a
//! port calls `groups` once for each security group of the port; that flow calls `rules` once without a remote group and `members` once
//! for each remote group that the group's rules name; `members` calls `rules` if the other side is in that remote group; a flow in
//! `rules` marks the packet as allowed. So every rule stands once, however many ports use it, every member address once
//! per group, and any number of matching rules has one and the same effect: nothing is multiplied and overlap is harmless.
//!
//! **Tracking.** Stateful filtering looks at the connection, not at the packet: rules match the tuple of the connection's *first*
//! packet, and a reply is judged by the rules that its connection was opened under (the receiver's ingress rules for
//! what it answers). So both directions follow today's rules: taking a rule away cuts the connections that it had let
//! in, at once, and nothing has to be marked or swept.
//!
//! **Routing.** A frame to the link-layer address of a router goes from `deliver` to the route tables and comes back to `deliver` in the
//! network that it is routed to; each host routes what its own guests send. On the way its connection is committed to the zone of the
//! network that it leaves and then forgotten, so that each network tracks it in its own zone. What goes outside is sent
//! to the host of the router's gateway as it is, by the tunnel of the network that it came from, and routed there. That host translates
//! addresses in a zone that is the router's own: on the way out `route-out` undoes or repeats what is known and `translate` decides
//! about new connections; on the way in `route-local` and `route-in` do the same. Both also hold established connections against
//! today's floating addresses, so that taking one away cuts them. `neighbours` says which link-layer address the next hop has: of
//! ports and peers by their wishes, of others by what the switch itself learns of them from ARP and neighbour discovery; the first packet to
//! an unknown one goes to the controller, which asks for it.

/// The tables. Numbers leave room; their order is the order of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Where does it come from: sets the network.
    Classify = 0,
    /// May its sender use these addresses?
    Guard = 10,
    /// Answers ARP for every address that is known.
    Arp = 20,
    /// DHCP to the controller, metadata to this host, echo of service addresses.
    Services = 30,
    /// What this host's metadata server answers, back to the port that asked.
    Metadata = 32,
    /// Looks the connection up for ports that filter statefully.
    SendTrack = 40,
    /// What the sender's groups say.
    SendFilter = 42,
    /// Goes on only if they said yes.
    SendVerdict = 44,
    /// Into a router: ends the packet's life in the network that it came from.
    RouteEnter = 50,
    /// What a router answers itself, and what has no hops left.
    RouteLocal = 51,
    /// From outside, with connections looked up: new ones to floating addresses, and known ones.
    RouteIn = 52,
    /// Where to, by the longest prefix.
    Route = 54,
    /// To the outside: looks the connection up, or sends it to the gateway's host.
    RouteOut = 56,
    /// To the outside, with connections looked up: under which address.
    Translate = 57,
    /// One hop less, and on to the next.
    NextHop = 58,
    /// The link-layer address of the next hop.
    Neighbours = 59,
    /// One group of a filter: which remote groups its rules name.
    Groups = 60,
    /// Whether the other side is in the remote group.
    Members = 61,
    /// What a group admits.
    Rules = 62,
    /// Goes on only if the next hop is known.
    Forward = 66,
    /// To which port or host the frame goes.
    Deliver = 70,
    /// Frames for all.
    Flood = 72,
    /// The ports here that get a copy.
    FloodPorts = 73,
    /// The hosts that get a copy.
    FloodHosts = 74,
    /// The unfiltered ports here, that get frames to addresses that nobody knows.
    FloodOpen = 75,
    /// Looks the connection up for the receiver, if the sender did not.
    ReceiveTrack = 80,
    /// What the receiver's groups say.
    ReceiveFilter = 82,
    /// Goes on only if they said yes.
    ReceiveVerdict = 84,
    /// Commits the connection if a stateful rule has let it in.
    Commit = 90,
    /// Sends the frame out, with the tag of its segment.
    Output = 92,
}

/// Every table, with its name.
pub const TABLES: [(Table, &str); 30] = [
    (Table::Classify, "classify"),
    (Table::Guard, "guard"),
    (Table::Arp, "arp"),
    (Table::Services, "services"),
    (Table::Metadata, "metadata"),
    (Table::SendTrack, "send-track"),
    (Table::SendFilter, "send-filter"),
    (Table::SendVerdict, "send-verdict"),
    (Table::RouteEnter, "route-enter"),
    (Table::RouteLocal, "route-local"),
    (Table::RouteIn, "route-in"),
    (Table::Route, "route"),
    (Table::RouteOut, "route-out"),
    (Table::Translate, "translate"),
    (Table::NextHop, "next-hop"),
    (Table::Neighbours, "neighbours"),
    (Table::Groups, "groups"),
    (Table::Members, "members"),
    (Table::Rules, "rules"),
    (Table::Forward, "forward"),
    (Table::Deliver, "deliver"),
    (Table::Flood, "flood"),
    (Table::FloodPorts, "flood-ports"),
    (Table::FloodHosts, "flood-hosts"),
    (Table::FloodOpen, "flood-open"),
    (Table::ReceiveTrack, "receive-track"),
    (Table::ReceiveFilter, "receive-filter"),
    (Table::ReceiveVerdict, "receive-verdict"),
    (Table::Commit, "commit"),
    (Table::Output, "output"),
];

impl Table {
    /// Its OpenFlow number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name of the table of this number; empty if there is none.
    #[must_use]
    pub fn name_of(number: u8) -> &'static str {
        TABLES.iter().find(|(table, _)| table.number() == number).map_or("", |(_, name)| name)
    }
}

/// What the registers mean.
pub mod register {
    use crate::field::Field;

    /// The number of the network; also the connection tracking zone.
    pub const NETWORK: Field = Field::Reg0;
    /// The tracking zone of the router that has the packet.
    pub const ROUTER: Field = Field::Reg1;
    /// The OpenFlow port that the frame is to leave by.
    pub const OUT: Field = Field::Reg2;
    /// Bits, see [`super::flag`].
    pub const FLAGS: Field = Field::Reg3;
    /// The next hop, if it is IPv4.
    pub const NEXT_HOP: Field = Field::Reg4;
    /// The next hop, if it is IPv6: all of the four registers from `NEXT_HOP` on, which routing has to itself.
    pub const NEXT_HOP_V6: Field = Field::XxReg1;
    /// The four.
    pub const NEXT_HOP_WORDS: [Field; 4] = [Field::Reg4, Field::Reg5, Field::Reg6, Field::Reg7];
    /// Which part of a flood.
    pub const PART: Field = Field::Reg5;
    /// The security group that is being asked, with the direction, see [`super::group_key`].
    pub const GROUP: Field = Field::Reg6;
    /// The remote group whose members the packet's other side is one of, with how it is looked up, see [`super::remote_key`].
    pub const REMOTE: Field = Field::Reg7;
}

/// Bits of [`register::FLAGS`].
pub mod flag {
    /// Came from another host: never goes to one again.
    pub const FROM_HOST: u32 = 1;
    /// A rule has allowed it.
    pub const ALLOWED: u32 = 2;
    /// A stateful rule has allowed it: its connection is to be committed.
    pub const COMMIT: u32 = 4;
    /// The next hop's link-layer address is known.
    pub const RESOLVED: u32 = 8;
    /// All of them.
    pub const ALL: u32 = 15;
}

/// Bits of `ct_state`, from ovs-fields(7).
pub mod ct_state {
    #![allow(missing_docs)]
    pub const NEW: u32 = 1;
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const REPLY: u32 = 8;
    pub const INVALID: u32 = 0x10;
    pub const TRACKED: u32 = 0x20;
}

/// Which side of a packet a remote group is about, and where it is read: the four ways to look a member up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lookup {
    /// The one who opened the connection (ingress rules of stateful groups).
    Opener = 0,
    /// The one to whom it was opened (egress rules of stateful groups).
    Opened = 1,
    /// The packet's source (ingress rules of stateless groups).
    Source = 2,
    /// The packet's destination (egress rules of stateless groups).
    Destination = 3,
}

/// The value of [`register::GROUP`] for the rules of one direction of a group.
#[must_use]
pub fn group_key(number: u32, direction: crate::wish::Direction) -> u32 {
    number << 1 | u32::from(direction == crate::wish::Direction::Egress)
}

/// The value of [`register::REMOTE`] for a remote group. 0 means that no remote group is asked for.
#[must_use]
pub fn remote_key(number: u32, lookup: Lookup) -> u32 {
    number << 2 | lookup as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_listed_in_order() {
        assert!(TABLES.is_sorted_by_key(|(table, _)| *table));
        assert_eq!(Table::name_of(62), "rules");
        assert_eq!(Table::name_of(63), "");
    }
}
