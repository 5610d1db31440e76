//! vhost-user messages as bytes, for front ends that stop in the middle of one.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};

use crate::{Ram, Ring, borrow};

/// A message and the descriptors that go with its first byte.
#[derive(Debug)]
pub struct Message {
    /// Header and body.
    pub bytes: Vec<u8>,
    /// At most eight.
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// A message of the first version without flags.
    pub fn new(request: FrontendReq, body: &[u8]) -> Self {
        let size = u32::try_from(body.len()).expect("a short body");
        let mut bytes = Vec::new();
        for word in [u32::from(request), 1, size] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(body);
        Self {
            bytes,
            fds: Vec::new(),
        }
    }

    /// With a descriptor.
    #[must_use]
    pub fn with(mut self, fd: impl AsFd) -> Self {
        let fd = fd.as_fd().try_clone_to_owned().expect("a descriptor");
        self.fds.push(fd);
        self
    }

    /// Sends the first `length` bytes of it.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, stream: &UnixStream, length: usize) -> rustix::io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        let bytes = [IoSlice::new(&self.bytes[..length])];
        let sent = sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?;
        assert_eq!(sent, length, "a message of some bytes goes as a whole");
        Ok(())
    }
}

/// All the messages with which a front end would come to running rings, none of which waits for an
/// answer.
pub fn handshake(
    ram: &Ram,
    rings: [&Ring; 2],
    features: u64,
    protocol: VhostUserProtocolFeatures,
) -> Vec<Message> {
    let word = |value: u64| value.to_ne_bytes();
    let (channel, _) = UnixStream::pair().expect("a socket pair");
    let mut messages = vec![
        Message::new(FrontendReq::GET_FEATURES, &[]),
        Message::new(FrontendReq::SET_OWNER, &[]),
        Message::new(FrontendReq::GET_PROTOCOL_FEATURES, &[]),
        Message::new(FrontendReq::SET_PROTOCOL_FEATURES, &word(protocol.bits())),
        Message::new(FrontendReq::SET_FEATURES, &word(features)),
        Message::new(FrontendReq::GET_QUEUE_NUM, &[]),
        Message::new(FrontendReq::SET_BACKEND_REQ_FD, &[]).with(channel),
        memory_table(ram),
    ];
    for (index, ring) in (0_u32..).zip(rings) {
        let state = |value: u32| [index.to_ne_bytes(), value.to_ne_bytes()].concat();
        let (descriptors, available, used) = ring.addresses();
        let mut addresses = state(0);
        for address in [descriptors, used, available] {
            addresses.extend_from_slice(&word(ram.user_address(address)));
        }
        addresses.extend_from_slice(&word(0));
        let number = word(u64::from(index));
        messages.extend([
            Message::new(FrontendReq::SET_VRING_NUM, &state(u32::from(ring.size()))),
            Message::new(FrontendReq::SET_VRING_ADDR, &addresses),
            Message::new(FrontendReq::SET_VRING_BASE, &state(0)),
            Message::new(FrontendReq::SET_VRING_CALL, &number).with(borrow(&ring.call)),
            Message::new(FrontendReq::SET_VRING_KICK, &number).with(borrow(&ring.kick)),
            Message::new(FrontendReq::SET_VRING_ENABLE, &state(1)),
        ]);
    }
    messages.push(Message::new(FrontendReq::GET_VRING_BASE, &[0; 8]));
    messages
}

fn memory_table(ram: &Ram) -> Message {
    let regions = ram.regions();
    let count = u32::try_from(regions.len()).expect("few regions");
    let mut body = [count.to_ne_bytes(), [0; 4]].concat();
    for region in &regions {
        for field in [
            region.guest_phys_addr,
            region.memory_size,
            region.userspace_addr,
            region.mmap_offset,
        ] {
            body.extend_from_slice(&field.to_ne_bytes());
        }
    }
    let mut message = Message::new(FrontendReq::SET_MEM_TABLE, &body);
    for _ in &regions {
        message = message.with(ram.file());
    }
    message
}
