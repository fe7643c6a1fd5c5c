//! What a disk image's first bytes say it is, and why it may be unsafe to open.
//!
//! The bytes come from a stranger who chose them to fool us: a qcow2 whose backing file is `/etc/shadow`, a
//! VMDK whose extent is a device, a file that one tool calls raw and another calls qcow2. So nothing here
//! follows an offset without a bound, and whatever isn't plainly harmless is reported as a danger in words.
use std::fmt;

use crate::reader::{be32, be64, bytes_at, le16, le32, le64};

/// First bytes of an image to hand to [`inspect`]. ISO 9660 has its magic at 32 KiB and VHDX its tables at 192 KiB.
pub const IMAGE_HEADER_BYTES: usize = 256 * 1024;
/// No header table is followed for more entries than this.
const ENTRIES_MAX: usize = 256;
const SECTOR_BYTES: u64 = 512;

/// A disk image format, told apart by magic numbers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No magic of any other format.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// QEMU copy-on-write, version 1.
    Qcow,
    /// QEMU enhanced disk.
    Qed,
    /// VMware.
    Vmdk,
    /// Microsoft Virtual PC (dynamic, differencing, or the footer of a fixed one).
    Vhd,
    /// Microsoft Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// ISO 9660.
    Iso,
    /// Linux Unified Key Setup.
    Luks,
    /// Parallels and ploop.
    Ploop,
}

impl Format {
    /// The name that image APIs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Iso => "iso",
            Self::Luks => "luks",
            Self::Ploop => "ploop",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// The first format whose magic matches; [`Format::Raw`] if none does.
    pub format: Format,
    /// The size a guest would see, if the header says it. A raw image's is its length.
    pub virtual_size_bytes: Option<u64>,
    /// The image reads through to another file.
    pub backing_file: bool,
    /// The image keeps its data in another file.
    pub data_file: bool,
    /// The image is encrypted.
    pub encrypted: bool,
    /// Magic numbers of these formats are there too.
    pub also: Vec<Format>,
    /// Why it must not be opened, in words; empty if nothing speaks against it.
    pub dangers: Vec<String>,
}

impl ImageInfo {
    fn new(format: Format) -> Self {
        Self {
            format,
            virtual_size_bytes: None,
            backing_file: false,
            data_file: false,
            encrypted: false,
            also: Vec::new(),
            dangers: Vec::new(),
        }
    }

    /// Nothing speaks against opening it.
    pub fn is_safe(&self) -> bool {
        self.dangers.is_empty()
    }

    fn danger(&mut self, why: impl Into<String>) {
        self.dangers.push(why.into());
    }

    fn backed(&mut self) {
        self.backing_file = true;
        self.danger(format!("{} image with a backing file", self.format));
    }

    fn elsewhere(&mut self) {
        self.data_file = true;
        self.danger(format!("{} image with its data in another file", self.format));
    }

    fn cut_off(&mut self) {
        self.danger(format!("{} header is cut off", self.format));
    }
}

/// Say what the image that begins with `header` is. Give it [`IMAGE_HEADER_BYTES`], or all there is.
pub fn inspect(header: &[u8]) -> ImageInfo {
    let mut formats = matching(header);
    if formats.is_empty() {
        return ImageInfo::new(Format::Raw);
    }
    let mut info = ImageInfo::new(formats.remove(0));
    let look: fn(&[u8], &mut ImageInfo) -> Option<()> = match info.format {
        Format::Raw => |_, _| Some(()),
        Format::Qcow2 => qcow2,
        Format::Qcow => qcow,
        Format::Qed => qed,
        Format::Vmdk => vmdk,
        Format::Vhd => vhd,
        Format::Vhdx => vhdx,
        Format::Vdi => vdi,
        Format::Iso => iso,
        Format::Luks => luks,
        Format::Ploop => ploop,
    };
    if look(header, &mut info).is_none() {
        info.cut_off();
    }
    if !formats.is_empty() {
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        info.danger(format!("looks like {} and like {} at once", info.format, names.join(" and ")));
    }
    info.also = formats;
    info
}

fn matching(header: &[u8]) -> Vec<Format> {
    let qcow_version = be32(header, 4);
    let is_qcow = header.starts_with(b"QFI\xfb");
    let vmdk_text = header.starts_with(b"# Disk DescriptorFile");
    let ploop = header.starts_with(b"WithoutFreeSpace") || header.starts_with(b"WithouFreSpacExt");
    let found = [
        (is_qcow && qcow_version != Some(1), Format::Qcow2),
        (is_qcow && qcow_version == Some(1), Format::Qcow),
        (header.starts_with(b"QED\0"), Format::Qed),
        (header.starts_with(b"KDMV") || header.starts_with(b"COWD") || vmdk_text, Format::Vmdk),
        (header.starts_with(b"conectix"), Format::Vhd),
        (header.starts_with(b"vhdxfile"), Format::Vhdx),
        (le32(header, 0x40) == Some(0xbeda_107f), Format::Vdi),
        (header.starts_with(b"LUKS\xba\xbe"), Format::Luks),
        (ploop, Format::Ploop),
        (bytes_at(header, 0x8001) == Some(*b"CD001"), Format::Iso),
    ];
    found.into_iter().filter_map(|(matches, format)| matches.then_some(format)).collect()
}

/// QEMU's docs/interop/qcow2.txt.
fn qcow2(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    const INCOMPATIBLE_KNOWN: u64 = 0b1_1111;
    const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
    const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
    const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

    let version = be32(header, 4)?;
    if be64(header, 8)? != 0 || be32(header, 16)? != 0 {
        info.backed();
    }
    info.virtual_size_bytes = Some(be64(header, 24)?);
    info.encrypted = be32(header, 32)? != 0;
    be64(header, 64)?;
    if version == 2 {
        return Some(());
    }
    if version != 3 {
        info.danger(format!("qcow2 of unknown version {version}"));
        return Some(());
    }
    let incompatible = be64(header, 72)?;
    if incompatible & !INCOMPATIBLE_KNOWN != 0 {
        info.danger("qcow2 image with features that aren't known");
    }
    let mut offset = be32(header, 100)? as usize;
    if offset < 104 {
        info.danger("qcow2 header with a wrong length");
        return Some(());
    }
    let mut named_elsewhere = false;
    for _ in 0..ENTRIES_MAX {
        let kind = be32(header, offset)?;
        let length = be32(header, offset.checked_add(4)?)? as usize;
        match kind {
            0 => {
                finish_qcow2(incompatible & INCOMPATIBLE_DATA_FILE != 0 || named_elsewhere, info);
                return Some(());
            }
            EXTENSION_DATA_FILE => named_elsewhere = true,
            EXTENSION_BACKING_FORMAT if !info.backing_file => info.backed(),
            _ => {}
        }
        offset = offset.checked_add(8)?.checked_add(length.checked_next_multiple_of(8)?)?;
    }
    info.danger("qcow2 header with too many extensions");
    finish_qcow2(incompatible & INCOMPATIBLE_DATA_FILE != 0 || named_elsewhere, info);
    Some(())
}

fn finish_qcow2(elsewhere: bool, info: &mut ImageInfo) {
    if elsewhere {
        info.elsewhere();
    }
}

/// The old format: magic, version, backing offset and size, mtime, size, then cluster and encryption fields.
fn qcow(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    if be64(header, 8)? != 0 || be32(header, 16)? != 0 {
        info.backed();
    }
    info.virtual_size_bytes = Some(be64(header, 24)?);
    info.encrypted = be32(header, 36)? != 0;
    Some(())
}

fn qed(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    if le64(header, 16)? & 1 != 0 || le32(header, 60)? != 0 {
        info.backed();
    }
    info.virtual_size_bytes = Some(le64(header, 48)?);
    Some(())
}

/// A sparse extent (`KDMV`) with its descriptor inside, a bare descriptor, or an old ESX extent (`COWD`).
fn vmdk(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    if header.starts_with(b"COWD") {
        info.elsewhere();
        return Some(());
    }
    if !header.starts_with(b"KDMV") {
        info.elsewhere();
        return vmdk_descriptor(header, info);
    }
    info.virtual_size_bytes = le64(header, 12)?.checked_mul(SECTOR_BYTES);
    let start = usize::try_from(le64(header, 28)?.checked_mul(SECTOR_BYTES)?).ok()?;
    let length = usize::try_from(le64(header, 36)?.checked_mul(SECTOR_BYTES)?).ok()?;
    if start == 0 || length == 0 {
        info.danger("vmdk extent without a descriptor");
        return Some(());
    }
    vmdk_descriptor(header.get(start..start.checked_add(length)?)?, info)
}

/// Only the two kinds that keep everything in one file are harmless, and only with one sparse extent.
fn vmdk_descriptor(descriptor: &[u8], info: &mut ImageInfo) -> Option<()> {
    let text = String::from_utf8_lossy(descriptor.split(|byte| *byte == 0).next()?).to_lowercase();
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().trim_matches('"').to_owned()).next()
    };
    match value("createtype") {
        Some(kind) if matches!(kind.as_str(), "monolithicsparse" | "streamoptimized") => {}
        Some(kind) if !info.data_file => {
            info.danger(format!("vmdk of type {kind:?}"));
            info.elsewhere();
        }
        Some(_) => {}
        None => info.danger("vmdk descriptor without a type"),
    }
    if value("parentcid").is_some_and(|parent| parent != "ffffffff") || text.contains("parentfilenamehint") {
        info.backed();
    }
    let extents = text.lines().filter(|line| {
        let first = line.split_whitespace().next();
        matches!(first, Some("rw" | "rdonly" | "noaccess"))
    });
    let kinds: Vec<Option<&str>> = extents.map(|line| line.split_whitespace().nth(2)).collect();
    if kinds != [Some("sparse")] && !info.data_file {
        info.elsewhere();
    }
    Some(())
}

fn vhd(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    const DISK_TYPE_DIFFERENCING: u32 = 4;
    info.virtual_size_bytes = Some(be64(header, 48)?);
    if be32(header, 60)? == DISK_TYPE_DIFFERENCING {
        info.backed();
    }
    Some(())
}

/// \[MS-VHDX\]: the region table at 192 KiB leads to the metadata, mostly further on than a header reaches.
fn vhdx(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    const REGION_TABLE: usize = 192 * 1024;
    const METADATA_REGION: [u8; 16] = uuid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);
    const FILE_PARAMETERS: [u8; 16] = uuid(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
    const VIRTUAL_DISK_SIZE: [u8; 16] = uuid(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
    const HAS_PARENT: u32 = 1 << 1;

    if bytes_at(header, REGION_TABLE)? != *b"regi" {
        info.danger("vhdx without its region table");
        return Some(());
    }
    let regions = (le32(header, REGION_TABLE + 8)? as usize).min(ENTRIES_MAX);
    let mut entries = (0..regions).map(|entry| REGION_TABLE + 16 + 32 * entry);
    let Some(entry) = entries.find(|at| bytes_at(header, *at) == Some(METADATA_REGION)) else {
        info.danger("vhdx without metadata");
        return Some(());
    };
    let metadata = usize::try_from(le64(header, entry + 16)?).ok()?;
    if header.len() <= metadata {
        return Some(());
    }
    let count = usize::from(le16(header, metadata.checked_add(10)?)?).min(ENTRIES_MAX);
    for item in (0..count).map(|item| metadata + 32 + 32 * item) {
        let at = metadata.checked_add(le32(header, item + 16)? as usize)?;
        match bytes_at(header, item)? {
            FILE_PARAMETERS if le32(header, at.checked_add(4)?)? & HAS_PARENT != 0 => info.backed(),
            VIRTUAL_DISK_SIZE => info.virtual_size_bytes = Some(le64(header, at)?),
            _ => {}
        }
    }
    Some(())
}

/// A GUID as Microsoft writes it to disk: the first three fields little-endian.
const fn uuid(value: u128) -> [u8; 16] {
    let b = value.to_be_bytes();
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

fn vdi(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    const TYPE_DYNAMIC: u32 = 1;
    const TYPE_STATIC: u32 = 2;
    info.virtual_size_bytes = Some(le64(header, 0x170)?);
    if !matches!(le32(header, 0x4c)?, TYPE_DYNAMIC | TYPE_STATIC) {
        info.backed();
    }
    Some(())
}

fn iso(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    const PRIMARY_DESCRIPTOR: usize = 0x8000;
    let blocks = u64::from(le32(header, PRIMARY_DESCRIPTOR + 80)?);
    let block_bytes = u64::from(le16(header, PRIMARY_DESCRIPTOR + 128)?);
    info.virtual_size_bytes = Some(blocks * block_bytes);
    Some(())
}

fn luks(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    info.encrypted = true;
    bytes_at::<2>(header, 6)?;
    Some(())
}

fn ploop(header: &[u8], info: &mut ImageInfo) -> Option<()> {
    info.virtual_size_bytes = le64(header, 36)?.checked_mul(SECTOR_BYTES);
    Some(())
}
