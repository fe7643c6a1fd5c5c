//! The messages that come from the switch, read from bytes that may be anything.

use ostro_flow::field::Field;
use ostro_flow::matches::{Match, Terms};
use ostro_flow::{Flow, Instructions, Key};

use crate::WireError;
use crate::wire::{FLOW_DESC, HEADER_BYTES, MORE, VERSION, kind};

/// One message as it came: its type, its transaction, and what follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which of [`kind`].
    pub kind: u8,
    /// The transaction that it answers, or its own.
    pub xid: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits the first message off `bytes`; None if it isn't there whole yet.
    ///
    /// # Errors
    /// The bytes are no OpenFlow 1.5.
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, WireError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // A hello may be of any version; what it says of versions is not needed.
        if length < HEADER_BYTES || (header[0] != VERSION && header[1] != kind::HELLO && header[1] != kind::ERROR) {
            return Err(WireError::NotOpenFlow(header[0]));
        }
        let Some(body) = bytes.get(HEADER_BYTES..length) else { return Ok(None) };
        let xid = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        Ok(Some((Self { kind: header[1], xid, body }, length)))
    }
}

/// Reads a body front to back; every step says whether it was there.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(WireError::CutOff)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (front, rest) = self.0.split_first_chunk().ok_or(WireError::CutOff)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A match and its padding; the OXM bytes.
    fn oxm(&mut self) -> Result<&'a [u8], WireError> {
        let _type = self.u16()?;
        let length = usize::from(self.u16()?);
        let oxm = self.take(length.checked_sub(4).ok_or(WireError::CutOff)?)?;
        self.take(length.next_multiple_of(8) - length)?;
        Ok(oxm)
    }
}

/// A packet that a flow sent up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketIn<'a> {
    /// The port that it came in by.
    pub in_port: u32,
    /// The cookie of the flow that sent it.
    pub cookie: u64,
    /// The table of that flow.
    pub table: u8,
    /// Registers 0 to 7, as the flow found them.
    pub registers: [u32; 8],
    /// The whole frame.
    pub frame: &'a [u8],
}

/// Reads the body of a packet-in.
///
/// # Errors
/// It is cut off.
pub fn packet_in(body: &[u8]) -> Result<PacketIn<'_>, WireError> {
    let mut reader = Reader(body);
    reader.take(4 + 2 + 1)?;
    let table = reader.u8()?;
    let cookie = reader.u64()?;
    let context = Match::from_oxm(reader.oxm()?);
    reader.take(2)?;
    let mut packet = PacketIn { in_port: 0, cookie, table, registers: [0; 8], frame: reader.0 };
    for term in Terms::new(context.as_bytes()) {
        let (Some(field), Some(value)) = (term.field, term.value.first_chunk()) else { continue };
        let value = u32::from_be_bytes(*value);
        if field == Field::InPort {
            packet.in_port = value;
        } else if let Some(index) = REGISTERS.iter().position(|register| *register == field) {
            packet.registers[index] = value;
        }
    }
    Ok(packet)
}

const REGISTERS: [Field; 8] =
    [Field::Reg0, Field::Reg1, Field::Reg2, Field::Reg3, Field::Reg4, Field::Reg5, Field::Reg6, Field::Reg7];

/// A port that came, went or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// 0 came, 1 went, 2 changed.
    pub reason: u8,
    /// Its OpenFlow number.
    pub number: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Reads the body of a port status.
///
/// # Errors
/// It is cut off.
pub fn port_status(body: &[u8]) -> Result<PortStatus, WireError> {
    let mut reader = Reader(body);
    let reason = reader.u8()?;
    reader.take(7)?;
    let number = reader.u32()?;
    reader.take(2 + 2 + 6 + 2)?;
    let name = reader.array::<16>()?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(PortStatus { reason, number, name: String::from_utf8_lossy(&name[..end]).into_owned() })
}

/// A flow as the switch holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFlow {
    /// The flow.
    pub flow: Flow,
    /// Packets that have met it.
    pub packets: u64,
}

/// Reads the body of one part of a flow dump, and says whether more parts follow.
///
/// # Errors
/// It is cut off, or no flow dump.
pub fn flow_dump(body: &[u8], out: &mut Vec<HeldFlow>) -> Result<bool, WireError> {
    let mut reader = Reader(body);
    if reader.u16()? != FLOW_DESC {
        return Err(WireError::Unexpected("a multipart reply other than flows"));
    }
    let more = reader.u16()? & MORE != 0;
    reader.take(4)?;
    while !reader.0.is_empty() {
        let length = usize::from(reader.0.first_chunk().map_or(0, |length| u16::from_be_bytes(*length)));
        out.push(held_flow(Reader(reader.take(length.max(1))?))?);
    }
    Ok(more)
}

fn held_flow(mut reader: Reader<'_>) -> Result<HeldFlow, WireError> {
    reader.take(4)?;
    let table = reader.u8()?;
    reader.take(1)?;
    let priority = reader.u16()?;
    reader.take(2 + 2 + 2 + 2 + 8)?;
    let matches = Match::from_oxm(reader.oxm()?);
    reader.take(2)?;
    let length = usize::from(reader.u16()?);
    let stats = reader.take(length.checked_sub(4).ok_or(WireError::CutOff)?)?;
    reader.take(length.next_multiple_of(8) - length)?;
    let instructions = Instructions::from(reader.0);
    Ok(HeldFlow { flow: Flow { key: Key::new(table, priority, &matches), instructions }, packets: packet_count(stats) })
}

/// The packet count among OXS statistics (class 0x8002, field 4); they look like OXM.
fn packet_count(oxs: &[u8]) -> u64 {
    const PACKETS: u32 = 0x8002_0808;
    let found = Terms::new(oxs).find(|term| term.header == PACKETS);
    found.and_then(|term| term.value.first_chunk()).map_or(0, |count| u64::from_be_bytes(*count))
}

/// Reads what a bundle control says: which bundle, and what of it.
///
/// # Errors
/// It is cut off.
pub fn bundle_control(body: &[u8]) -> Result<(u32, u16), WireError> {
    let mut reader = Reader(body);
    Ok((reader.u32()?, reader.u16()?))
}

/// Reads an error's type and code.
///
/// # Errors
/// It is cut off.
pub fn error(body: &[u8]) -> Result<(u16, u16), WireError> {
    let mut reader = Reader(body);
    Ok((reader.u16()?, reader.u16()?))
}
