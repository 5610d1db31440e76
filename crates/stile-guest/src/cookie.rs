//! Cookies: the guest's names for host sync_files.

use std::num::NonZeroU64;

/// A name, 1 to 2^64 − 1, that the guest gives to a host sync_file. It means something in the
/// context that made it, from EXPORT or MERGE until DROP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(NonZeroU64);

impl Cookie {
    /// A cookie of this number; `None` for 0.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl From<Cookie> for u64 {
    fn from(cookie: Cookie) -> Self {
        cookie.get()
    }
}

impl std::fmt::Display for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers cookies 1, 2, 3, … and gives none twice: 2^64 of them outlast any session.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    last: u64,
}

impl Cookies {
    /// The next one.
    pub(crate) fn next(&mut self) -> Cookie {
        let next = NonZeroU64::MIN.saturating_add(self.last);
        self.last = next.get();
        Cookie(next)
    }
}
