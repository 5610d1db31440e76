//! Names that the guest chooses: of host sync_files, timelines and events.

use std::num::NonZeroU64;

macro_rules! names {
    ($($(#[$documentation:meta])* $name:ident)*) => {$(
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// That of this number; `None` for 0.
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

        impl From<NonZeroU64> for $name {
            fn from(number: NonZeroU64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(name: $name) -> Self {
                name.get()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

names! {
    /// A name, 1 to 2^64 − 1, that the guest gives to a host sync_file. It means something in the
    /// context that made it, from EXPORT, MERGE, TL_TRANSFER, SNAPSHOT or FROM_RING until DROP.
    Cookie

    /// A name, 1 to 2^64 − 1, that the guest gives to a host drm_syncobj. It means something in the
    /// context that made it, from TL_CREATE or TL_ADOPT until TL_DESTROY.
    Timeline

    /// A number, 1 to 2^64 − 1, that the guest gives to an event that it waits for. It means
    /// something in its context, from TL_WATCH or MEM_WAIT until the event has come or CANCEL.
    EventNumber
}

/// Numbers names of one kind 1, 2, 3, … and gives none twice: 2^64 of them outlast any session.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    last: u64,
}

impl Numbers {
    /// The next one.
    pub(crate) fn next<N: From<NonZeroU64>>(&mut self) -> N {
        let next = NonZeroU64::MIN.saturating_add(self.last);
        self.last = next.get();
        N::from(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_at_one_and_go_up() {
        let mut numbers = Numbers::default();
        let first: Vec<_> = (0..3).map(|_| numbers.next::<Cookie>().get()).collect();
        assert_eq!(first, [1, 2, 3]);
        assert_eq!(Cookie::new(0), None);
    }
}
