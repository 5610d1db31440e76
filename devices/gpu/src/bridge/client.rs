//! A client of the bridge, for host processes and tests.

mod requests;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};
use stile_host::DmaBuf;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::wire::{Answer, BINARY, BY_ID, BY_UUID, MAX_PACKET, OFFER_TIMELINE, Question, TIMELINE};

pub use requests::{Reply, ReplyTo};

/// Why the bridge did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such resource or timeline.
    #[error("The device has no such resource or timeline")]
    NotFound,
    /// The bridge answered with another errno.
    #[error("The bridge refused with errno {0}")]
    Refused(u32),
    /// The answer is not the bridge's.
    #[error("The bridge's answer makes no sense")]
    BadAnswer,
    /// The socket failed.
    #[error("The bridge cannot be reached: {0}")]
    Socket(#[from] Errno),
    /// What came is no dma-buf.
    #[error("The bridge's descriptor is no dma-buf")]
    NotADmaBuf(#[source] stile_host::Error),
}

/// A resource of the guest.
#[derive(Debug)]
pub struct Resource {
    /// Its id in the device.
    pub resource_id: u32,
    /// Its UUID, if the guest has assigned one.
    pub uuid: Option<[u8; 16]>,
    /// Its memory.
    pub buffer: DmaBuf,
}

/// A connection to a bridge.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// Replies that came in a packet with others, or before an answer.
    replies: Mutex<VecDeque<Reply>>,
}

impl Client {
    /// Connects to the bridge at `path`.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let replies = Mutex::default();
        Ok(Self { socket, replies })
    }

    /// The resource with this id. Blocks until the bridge answers.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and the others.
    pub fn by_id(&self, resource_id: u32) -> Result<Resource, ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(BY_ID);
        question.detail.set(resource_id);
        self.resource(&question)
    }

    /// The resource with this UUID. Blocks until the bridge answers.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and the others.
    pub fn by_uuid(&self, uuid: [u8; 16]) -> Result<Resource, ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(BY_UUID);
        question.uuid = uuid;
        self.resource(&question)
    }

    /// A timeline that the guest shares under this UUID: a descriptor of its drm_syncobj. Blocks
    /// until the bridge answers.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and the others.
    pub fn timeline(&self, uuid: [u8; 16]) -> Result<OwnedFd, ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(TIMELINE);
        question.uuid = uuid;
        let (_, descriptor) = self.ask(&question, None)?;
        descriptor.ok_or(ClientError::BadAnswer)
    }

    /// Gives a drm_syncobj to the guest, which adopts it by this UUID. `binary` says that its only
    /// point is 0. The offer ends with the connection, or when it is taken up. Blocks until the
    /// bridge answers.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: `EEXIST` where the UUID is taken, `EINVAL` where the descriptor is
    /// no drm_syncobj, `EOPNOTSUPP` where the device has no timelines, `EDQUOT` where there are too
    /// many offers.
    pub fn offer_timeline(
        &self,
        uuid: [u8; 16],
        syncobj: BorrowedFd<'_>,
        binary: bool,
    ) -> Result<(), ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(OFFER_TIMELINE);
        question.detail.set(if binary { BINARY } else { 0 });
        question.uuid = uuid;
        self.ask(&question, Some(syncobj)).map(|_| ())
    }

    fn resource(&self, question: &Question) -> Result<Resource, ClientError> {
        let (answer, descriptor) = self.ask(question, None)?;
        let fd = descriptor.ok_or(ClientError::BadAnswer)?;
        Ok(Resource {
            resource_id: answer.resource_id.get(),
            uuid: Some(answer.uuid).filter(|uuid| *uuid != [0; 16]),
            buffer: DmaBuf::from_fd(fd).map_err(ClientError::NotADmaBuf)?,
        })
    }

    fn ask(
        &self,
        question: &Question,
        given: Option<BorrowedFd<'_>>,
    ) -> Result<(Answer, Option<OwnedFd>), ClientError> {
        self.send_with(question.as_bytes(), given)?;
        loop {
            let (packet, descriptor) = self.receive(RecvFlags::empty())?;
            let Ok(answer) = Answer::read_from_bytes(&packet) else {
                self.keep(&packet)?;
                continue;
            };
            return match answer.errno.get() {
                0 => Ok((answer, descriptor)),
                2 => Err(ClientError::NotFound),
                errno => Err(ClientError::Refused(errno)),
            };
        }
    }

    /// Sends a packet, and a descriptor with it.
    fn send_with(&self, packet: &[u8], given: Option<BorrowedFd<'_>>) -> Result<(), ClientError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let given: Vec<BorrowedFd<'_>> = given.into_iter().collect();
        if !given.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&given));
        }
        let slices = [IoSlice::new(packet)];
        sendmsg(&self.socket, &slices, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive(&self, flags: RecvFlags) -> Result<(Vec<u8>, Option<OwnedFd>), ClientError> {
        let mut packet = vec![0_u8; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut packet)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut slices, &mut control, flags)?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Err(ClientError::Socket(Errno::PIPE));
        }
        packet.truncate(received.bytes);
        Ok((packet, descriptor))
    }
}
