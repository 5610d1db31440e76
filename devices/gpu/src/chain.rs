//! Descriptor chains: the command's bytes in, the response's bytes out.
//!
//! The readable part is copied before anybody looks at it, since the guest can change it at any
//! time; the writable part is remembered until the answer comes.

use stile_core::Chain;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Which ring a chain came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Control,
    Cursor,
}

/// A chain whose command is not answered yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) ring: Which,
    pub(crate) head: u16,
    /// The guest memory that the response goes to. Nearly always one piece.
    first: Option<(GuestAddress, u32)>,
    rest: Vec<(GuestAddress, u32)>,
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
            first: None,
            rest: Vec::new(),
        };
        command.clear();
        for descriptor in chain {
            if descriptor.is_write_only() {
                let piece = (descriptor.addr(), descriptor.len());
                match open.first {
                    None => open.first = Some(piece),
                    Some(_) => open.rest.push(piece),
                }
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

    /// Writes a response, as much of it as there is room for. Says how many bytes.
    pub(crate) fn write(&self, memory: &GuestMemoryMmap, response: &[u8]) -> u32 {
        let mut left = response;
        let mut written: u32 = 0;
        for (address, length) in self.first.iter().chain(&self.rest) {
            let room = usize::try_from(*length)
                .unwrap_or(usize::MAX)
                .min(left.len());
            let Some((now, later)) = left.split_at_checked(room) else {
                break;
            };
            if memory.write_slice(now, *address).is_err() {
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
}

impl Chains {
    pub(crate) fn add(&mut self, chain: Open) -> Chain {
        if let Some(index) = self.free.pop()
            && let Some(place) = usize::try_from(index)
                .ok()
                .and_then(|at| self.open.get_mut(at))
        {
            *place = Some(chain);
            return Chain(index);
        }
        let index = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.open.push(Some(chain));
        Chain(index)
    }

    pub(crate) fn take(&mut self, chain: Chain) -> Option<Open> {
        let taken = self.open.get_mut(usize::try_from(chain.0).ok()?)?.take()?;
        self.free.push(chain.0);
        Some(taken)
    }

    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.free.clear();
    }
}
