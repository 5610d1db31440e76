//! Bytes that are shared.

use stile_host::{Access, Error};

use crate::{SIZE, buffer, buffers};

#[test]
fn bytes_written_through_one_mapping_are_read_through_another() {
    for (source, buffer) in buffers() {
        let (one, other) = (buffer.map(0..SIZE).unwrap(), buffer.map(0..SIZE).unwrap());
        buffer.sync_begin(Access::all()).unwrap();
        // Every alignment at both ends, over a background that must not change.
        for start in 0..17_usize {
            for len in 0..40_usize {
                one.write(0, &[0xEE; 64]).unwrap();
                let bytes: Vec<u8> = (1..).take(len).collect();
                one.write(start, &bytes).unwrap();
                let mut all = [0; 64];
                other.read(0, &mut all).unwrap();
                let mut expected = [0xEE; 64];
                expected[start..start + len].copy_from_slice(&bytes);
                assert_eq!(all, expected, "{source}, {len} bytes at {start}");
                let mut back = vec![0; len];
                other.read(start, &mut back).unwrap();
                assert_eq!(back, bytes, "{source}, {len} bytes at {start}");
            }
        }
        buffer.sync_end(Access::all()).unwrap();
    }
}

#[test]
fn words_stand_among_the_bytes() {
    let mapping = buffer().map(0..SIZE).unwrap();
    mapping.store_u64(8, 0x0102_0304_0506_0708).unwrap();
    mapping.store_u32(16, 0x1122_3344).unwrap();
    assert_eq!(mapping.load_u64(8).unwrap(), 0x0102_0304_0506_0708);
    assert_eq!(mapping.load_u32(16).unwrap(), 0x1122_3344);
    let mut bytes = [0; 12];
    mapping.read(8, &mut bytes).unwrap();
    assert_eq!(bytes[..8], 0x0102_0304_0506_0708_u64.to_ne_bytes());
    assert_eq!(bytes[8..], 0x1122_3344_u32.to_ne_bytes());
}

#[test]
fn a_counter_is_raised_through_one_mapping_and_seen_through_another() {
    for (source, buffer) in buffers() {
        let (one, other) = (buffer.map(0..SIZE).unwrap(), buffer.map(0..SIZE).unwrap());
        one.write(24, &7_u64.to_le_bytes()).unwrap();
        assert_eq!(other.raise_u64(24, 7), Ok(7), "{source}");
        assert_eq!(other.raise_u64(24, 1 << 40), Ok(7), "{source}");
        let mut bytes = [0; 8];
        one.read(24, &mut bytes).unwrap();
        assert_eq!(bytes, (1_u64 << 40).to_le_bytes(), "{source}");
        let end = usize::try_from(SIZE).unwrap();
        for offset in [end, end - 4, usize::MAX - 7] {
            assert!(one.raise_u64(offset, 1).is_err(), "{source}, {offset}");
        }
        assert!(matches!(
            one.raise_u64(12, 1),
            Err(Error::Misaligned { .. })
        ));
    }
}

#[test]
fn nothing_outside_is_touched() {
    let mapping = buffer().map(0..4096).unwrap();
    assert_eq!(mapping.len(), 4096);
    mapping.write(4096, &[]).unwrap();
    mapping.read(4095, &mut [0]).unwrap();
    for offset in [4096, 4097, usize::MAX] {
        let outside = |result: Result<(), Error>| {
            assert!(
                matches!(result, Err(Error::OutOfBounds { .. })),
                "{result:?}"
            );
        };
        outside(mapping.read(offset, &mut [0]));
        outside(mapping.write(offset, &[0]));
    }
    assert!(matches!(
        mapping.load_u64(4096),
        Err(Error::OutOfBounds { .. })
    ));
    assert!(matches!(
        mapping.load_u64(4092),
        Err(Error::Misaligned { .. })
    ));
    assert!(matches!(
        mapping.store_u32(2, 0),
        Err(Error::Misaligned { .. })
    ));
    assert!(matches!(
        mapping.load_u32(usize::MAX),
        Err(Error::Misaligned { .. })
    ));
}

#[test]
fn a_part_is_mapped_where_it_stands() {
    for (source, buffer) in buffers() {
        let whole = buffer.map(0..SIZE).unwrap();
        let part = buffer.map(8192..8192 + 4096).unwrap();
        part.write(5, b"part").unwrap();
        let mut bytes = [0; 4];
        whole.read(8192 + 5, &mut bytes).unwrap();
        assert_eq!(&bytes, b"part", "{source}");
        assert_eq!(part.len(), 4096);
        assert!(part.write(4096, &[0]).is_err());
    }
}

#[test]
#[expect(
    clippy::reversed_empty_ranges,
    reason = "it is a range that must be refused"
)]
fn only_a_range_of_the_buffer_can_be_mapped() {
    let buffer = buffer();
    assert_eq!(buffer.map(0..0).unwrap_err(), Error::Empty);
    assert_eq!(buffer.map(8192..4096).unwrap_err(), Error::Empty);
    assert!(matches!(
        buffer.map(1..4096),
        Err(Error::Misaligned { value: 1, .. })
    ));
    assert!(matches!(
        buffer.map(0..SIZE + 1),
        Err(Error::OutOfBounds { .. })
    ));
    assert!(matches!(
        buffer.map(SIZE..SIZE + 4096),
        Err(Error::OutOfBounds { .. })
    ));
}

#[test]
fn a_mapping_outlives_its_descriptor_and_goes_to_another_thread() {
    let buffer = buffer();
    let mapping = buffer.map(0..SIZE).unwrap();
    drop(buffer);
    let mapping = std::thread::spawn(move || {
        mapping.write(0, b"there").unwrap();
        mapping
    })
    .join()
    .unwrap();
    let mut bytes = [0; 5];
    mapping.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"there");
}
