//! Disk image headers, honest and otherwise.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use ostro_chunk::image::{Format, ImageInfo, inspect};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes with others written over them.
fn with(mut base: Vec<u8>, parts: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, bytes) in parts {
        let end = at + bytes.len();
        base.resize(base.len().max(end), 0);
        base[*at..end].copy_from_slice(bytes);
    }
    base
}

fn qcow2(version: u32) -> Vec<u8> {
    let size = (5_u64 << 30).to_be_bytes();
    with(vec![0; 4096], &[(0, b"QFI\xfb"), (4, &version.to_be_bytes()), (24, &size), (100, &104_u32.to_be_bytes())])
}

fn vmdk(descriptor: &str) -> Vec<u8> {
    let fields: [(usize, &[u8]); 6] = [
        (0, b"KDMV"),
        (4, &[1]),
        (12, &2048_u64.to_le_bytes()),
        (28, &1_u64.to_le_bytes()),
        (36, &2_u64.to_le_bytes()),
        (512, descriptor.as_bytes()),
    ];
    with(vec![0; 4096], &fields)
}

const SPARSE: &str =
    "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 2048 SPARSE \"a.vmdk\"\n";

fn samples() -> Vec<(Vec<u8>, Format, Option<u64>)> {
    let vhdx = with(
        vec![0; 256 * 1024],
        &[
            (0, b"vhdxfile"),
            (192 * 1024, b"regi"),
            (192 * 1024 + 8, &1_u32.to_le_bytes()),
            (
                192 * 1024 + 16,
                &[0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e],
            ),
            (192 * 1024 + 32, &(128 * 1024_u64).to_le_bytes()),
            (128 * 1024, b"metadata"),
            (128 * 1024 + 10, &1_u16.to_le_bytes()),
            (
                128 * 1024 + 32,
                &[0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8],
            ),
            (128 * 1024 + 48, &4096_u32.to_le_bytes()),
            (132 * 1024, &(9_u64 << 20).to_le_bytes()),
        ],
    );
    let iso = with(
        vec![0; 0x9000],
        &[(0x8001, b"CD001"), (0x8050, &300_u32.to_le_bytes()), (0x8080, &2048_u16.to_le_bytes())],
    );
    vec![
        (vec![0; 4096], Format::Raw, None),
        (Vec::new(), Format::Raw, None),
        (qcow2(2), Format::Qcow2, Some(5 << 30)),
        (qcow2(3), Format::Qcow2, Some(5 << 30)),
        (with(qcow2(1), &[]), Format::Qcow, Some(5 << 30)),
        (with(vec![0; 512], &[(0, b"QED\0"), (48, &99_u64.to_le_bytes())]), Format::Qed, Some(99)),
        (vmdk(SPARSE), Format::Vmdk, Some(1 << 20)),
        (
            with(vec![0; 512], &[(0, b"conectix"), (48, &7_u64.to_be_bytes()), (60, &[0, 0, 0, 3])]),
            Format::Vhd,
            Some(7),
        ),
        (vhdx, Format::Vhdx, Some(9 << 20)),
        (
            with(vec![0; 512], &[(0x40, &[0x7f, 0x10, 0xda, 0xbe]), (0x4c, &[1]), (0x170, &8_u64.to_le_bytes())]),
            Format::Vdi,
            Some(8),
        ),
        (iso, Format::Iso, Some(300 * 2048)),
        (with(vec![0; 512], &[(0, b"LUKS\xba\xbe\0\x02")]), Format::Luks, None),
        (with(vec![0; 512], &[(0, b"WithoutFreeSpace"), (36, &4_u64.to_le_bytes())]), Format::Ploop, Some(2048)),
    ]
}

#[test]
fn formats_are_told_apart() {
    for (bytes, format, size) in samples() {
        let info = inspect(&bytes);
        assert_eq!((info.format, info.virtual_size_bytes), (format, size));
        assert!(info.dangers.is_empty(), "{format}: {:?}", info.dangers);
        assert_eq!(info.encrypted, format == Format::Luks);
    }
}

fn dangers(bytes: &[u8]) -> ImageInfo {
    let info = inspect(bytes);
    assert!(!info.is_safe(), "{info:?}");
    info
}

#[test]
fn whatever_reads_another_file_is_dangerous() {
    for version in [2, 3] {
        assert!(dangers(&with(qcow2(version), &[(8, &512_u64.to_be_bytes())])).backing_file);
        assert!(dangers(&with(qcow2(version), &[(16, &5_u32.to_be_bytes())])).backing_file);
    }
    assert!(dangers(&with(qcow2(3), &[(72, &4_u64.to_be_bytes())])).data_file);
    let named = [(104, &0x4441_5441_u32.to_be_bytes()[..]), (108, &3_u32.to_be_bytes()), (112, b"abc")];
    assert!(dangers(&with(qcow2(3), &named)).data_file);
    assert!(dangers(&with(qcow2(3), &[(104, &0xe279_2aca_u32.to_be_bytes())])).backing_file);
    dangers(&with(qcow2(3), &[(72, &(1_u64 << 40).to_be_bytes())]));
    dangers(&qcow2(4));
    dangers(&qcow2(3)[..100]);
    assert!(dangers(&with(qcow2(1), &[(8, &512_u64.to_be_bytes())])).backing_file);
    assert!(dangers(&with(vec![0; 512], &[(0, b"QED\0"), (16, &[1])])).backing_file);
    assert!(dangers(&with(vec![0; 512], &[(0, b"conectix"), (60, &[0, 0, 0, 4])])).backing_file);
    assert!(dangers(&with(vec![0; 512], &[(0x40, &[0x7f, 0x10, 0xda, 0xbe]), (0x4c, &[4])])).backing_file);
}

#[test]
fn a_vmdk_of_more_than_one_file_is_dangerous() {
    assert!(dangers(SPARSE.as_bytes()).data_file, "a bare descriptor");
    assert!(dangers(b"COWD and so on").data_file);
    assert!(dangers(&vmdk(&SPARSE.replace("SPARSE \"a.vmdk\"", "FLAT \"/dev/sda\" 0"))).data_file);
    assert!(dangers(&vmdk(&format!("{SPARSE}RW 1 SPARSE \"b.vmdk\"\n"))).data_file);
    assert!(dangers(&vmdk(&SPARSE.replace("monolithicSparse", "monolithicFlat"))).data_file);
    assert!(dangers(&vmdk(&SPARSE.replace("ffffffff", "12345678"))).backing_file);
    dangers(&vmdk(""));
    dangers(&with(vmdk(SPARSE), &[(28, &[0; 8])]));
}

#[test]
fn two_formats_at_once_are_dangerous() {
    let both = with(qcow2(2), &[(0x8001, b"CD001")]);
    assert_eq!(dangers(&both).also, [Format::Iso]);
}

proptest! {
    #[test]
    fn prop_no_header_is_too_strange(bytes in vec(any::<u8>(), 0..2000)) {
        inspect(&bytes);
    }

    #[test]
    fn prop_no_header_bent_out_of_shape_is_too_strange(
        sample in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        bends in vec((0..0x9000_usize, vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 1..9)), 0..6),
    ) {
        let samples = samples();
        let mut bytes = samples[sample.index(samples.len())].0.clone();
        for (at, with) in bends {
            // Mostly where the fields are.
            let at = if at % 3 == 0 { at } else { at % 128 };
            for (slot, byte) in bytes.iter_mut().skip(at).zip(with) {
                *slot = byte;
            }
        }
        let cut = cut.index(2 * bytes.len() + 1);
        bytes.truncate(cut);
        let info = inspect(&bytes);
        // What reads other files is never called safe.
        prop_assert!(!info.is_safe() || !(info.backing_file || info.data_file));
    }
}
