//! Bytes that both sides can make from a number, so that a whole buffer is compared without sending
//! it.

/// `length` bytes of the pattern with this seed. Each aligned group of eight differs from all others
/// of the pattern, so that a page in the wrong place is seen.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    (0..)
        .map(|index: u64| mixed(seed ^ index.rotate_left(32)))
        .flat_map(u64::to_le_bytes)
        .take(length)
        .collect()
}

/// Where `found` differs from the pattern with this seed, for a person.
pub fn difference(seed: u64, found: &[u8]) -> Option<String> {
    let wanted = bytes(seed, found.len());
    let differ = |(_, (found, wanted)): &(usize, (&u8, &u8))| found != wanted;
    let mut pairs = found.iter().zip(&wanted).enumerate();
    let (at, (found_byte, wanted_byte)) = pairs.find(differ)?;
    let count = pairs.filter(differ).count().saturating_add(1);
    Some(format!(
        "{count} of {} bytes differ; the first is byte {at:#x}: {found_byte:#04x}, not \
         {wanted_byte:#04x}",
        found.len()
    ))
}

/// A permutation of the 64-bit numbers (splitmix64's finish), so that no two groups are equal.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_itself_and_no_other() {
        let found = bytes(7, 4099);
        assert_eq!(difference(7, &found), None);
        assert!(difference(8, &found).is_some());
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let mut found = bytes(1, 64);
        found[9] ^= 1;
        let said = difference(1, &found).unwrap();
        assert!(said.starts_with("1 of 64 bytes differ"), "{said}");
        assert!(said.contains("byte 0x9:"), "{said}");
    }
}
