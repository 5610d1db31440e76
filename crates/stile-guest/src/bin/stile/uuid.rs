//! UUIDs, as people write them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// 16 bytes: 32 hexadecimal digits, with hyphens or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uuid(u128);

impl Uuid {
    /// As they go over the wire.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let wrong = || format!("{text:?} is not a UUID of 32 hexadecimal digits");
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| wrong())?;
        Ok(Self(number))
    }
}

impl Display for Uuid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut rest = digits.as_str();
        for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
            let (part, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            if index > 0 {
                f.write_str("-")?;
            }
            f.write_str(part)?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_with_hyphens_and_without() {
        let text = "0102030a-0405-0607-0809-0a0b0c0d0e0f";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.bytes()[..4], [1, 2, 3, 10]);
        assert_eq!(uuid.to_string(), text);
        assert_eq!(text.replace('-', "").parse(), Ok(uuid));
        for wrong in [
            "",
            "0102",
            "0102030a-0405-0607-0809-0a0b0c0d0e0g",
            "+102030a04050607080900a0b0c0d0e0f",
        ] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }
}
