//! Descriptor chains: the command's bytes in, the response's bytes out.
//!
//! The readable part is copied before anybody looks at it, since the guest can change it at any
//! time; the writable part is remembered until the answer comes.

use stile_core::Chain;
use stile_wire::gpu::MAX_RESPONSE_BYTES;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::growth;

/// Pieces of guest memory that a response is spread over, at most. Linux uses one.
const MAX_PIECES: usize = 16;

/// Which ring a chain came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Control,
    Cursor,
}

/// A chain whose command is not answered yet. There may be many, so it is small.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) ring: Which,
    pub(crate) head: u16,
    response: Room,
}

/// The guest memory that a response goes to.
#[derive(Debug)]
enum Room {
    /// Nearly always; it may be empty.
    Piece(GuestAddress, u32),
    #[expect(
        clippy::box_collection,
        reason = "it is rare, and the others are short for it"
    )]
    Pieces(Box<Vec<(GuestAddress, u32)>>),
}

impl Room {
    fn pieces(&self) -> impl Iterator<Item = (GuestAddress, u32)> {
        let (one, many) = match self {
            Self::Piece(address, length) => (Some((*address, *length)), Default::default()),
            Self::Pieces(pieces) => (None, pieces.as_slice()),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

impl Open {
    /// Copies the chain's readable bytes to `command`, `limit` of them at most: a longer command is
    /// cut short, which its decoder sees.
    pub(crate) fn read(
        ring: Which,
        chain: DescriptorChain<&GuestMemoryMmap>,
        memory: &GuestMemoryMmap,
        limit: usize,
        command: &mut Vec<u8>,
    ) -> Self {
        let mut open = Self {
            ring,
            head: chain.head_index(),
            response: Room::Piece(GuestAddress(0), 0),
        };
        command.clear();
        for descriptor in chain {
            if descriptor.is_write_only() {
                open.keep(descriptor.addr(), descriptor.len());
                continue;
            }
            let start = command.len();
            let room = limit.saturating_sub(start);
            let wanted = usize::try_from(descriptor.len())
                .unwrap_or(usize::MAX)
                .min(room);
            command.resize(start.saturating_add(wanted), 0);
            let Some(to) = command.get_mut(start..) else {
                break;
            };
            if memory.read_slice(to, descriptor.addr()).is_err() {
                // Not memory: the command ends here.
                command.truncate(start);
                break;
            }
        }
        open
    }

    /// Remembers a piece for the response. More than the longest response takes is not needed, and
    /// a guest is not to decide how much is kept.
    fn keep(&mut self, address: GuestAddress, length: u32) {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for (_, length) in self.response.pieces() {
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        }
        if length == 0 || bytes >= MAX_RESPONSE_BYTES || count > MAX_PIECES {
            return;
        }
        match &mut self.response {
            Room::Piece(_, 0) => self.response = Room::Piece(address, length),
            Room::Piece(first, bytes) => {
                let pieces = vec![(*first, *bytes), (address, length)];
                self.response = Room::Pieces(Box::new(pieces));
            }
            Room::Pieces(pieces) => pieces.push((address, length)),
        }
    }

    /// Writes a response, as much of it as there is room for. Says how many bytes.
    pub(crate) fn write(&self, memory: &GuestMemoryMmap, response: &[u8]) -> u32 {
        let mut left = response;
        let mut written: u32 = 0;
        for (address, length) in self.response.pieces() {
            let room = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(left.len());
            let Some((now, later)) = left.split_at_checked(room) else {
                break;
            };
            if memory.write_slice(now, address).is_err() {
                break;
            }
            written = written.saturating_add(u32::try_from(now.len()).unwrap_or(0));
            left = later;
        }
        written
    }
}

/// The chains whose commands are not answered yet, by the number that the device knows them by.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    open: Vec<Option<Open>>,
    free: Vec<u32>,
    /// How many are open, of each ring.
    control: usize,
    cursor: usize,
}

impl Chains {
    /// How many chains of a ring are open.
    pub(crate) fn open(&self, ring: Which) -> usize {
        match ring {
            Which::Control => self.control,
            Which::Cursor => self.cursor,
        }
    }

    fn count(&mut self, ring: Which) -> &mut usize {
        match ring {
            Which::Control => &mut self.control,
            Which::Cursor => &mut self.cursor,
        }
    }

    pub(crate) fn add(&mut self, chain: Open) -> Chain {
        let open = self.count(chain.ring);
        *open = open.saturating_add(1);
        if let Some(index) = self.free.pop()
            && let Some(place) = usize::try_from(index)
                .ok()
                .and_then(|at| self.open.get_mut(at))
        {
            *place = Some(chain);
            return Chain(index);
        }
        let index = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        growth::push(&mut self.open, Some(chain));
        Chain(index)
    }

    pub(crate) fn take(&mut self, chain: Chain) -> Option<Open> {
        let taken = self.open.get_mut(usize::try_from(chain.0).ok()?)?.take()?;
        self.free.push(chain.0);
        let open = self.count(taken.ring);
        *open = open.saturating_sub(1);
        Some(taken)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_row_takes_at_most_24_bytes() {
        assert!(size_of::<Option<super::Open>>() <= 24);
    }
}
