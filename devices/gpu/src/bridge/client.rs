//! A client of the bridge, for host processes and tests.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use stile_host::DmaBuf;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::wire::{Answer, BY_ID, BY_UUID, Question};

/// Why the bridge gave no buffer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such resource.
    #[error("The device has no such resource")]
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
        Ok(Self { socket })
    }

    /// The resource with this id. Blocks until the bridge answers.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and the others.
    pub fn by_id(&self, resource_id: u32) -> Result<Resource, ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(BY_ID);
        question.resource_id.set(resource_id);
        self.ask(&question)
    }

    /// The resource with this UUID. Blocks until the bridge answers.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and the others.
    pub fn by_uuid(&self, uuid: [u8; 16]) -> Result<Resource, ClientError> {
        let mut question = Question::new_zeroed();
        question.kind.set(BY_UUID);
        question.uuid = uuid;
        self.ask(&question)
    }

    fn ask(&self, question: &Question) -> Result<Resource, ClientError> {
        send(&self.socket, question.as_bytes(), SendFlags::NOSIGNAL)?;
        let mut packet = [0_u8; size_of::<Answer>()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut packet)];
        let received = recvmsg(
            &self.socket,
            &mut slices,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if received.bytes != packet.len() {
            return Err(ClientError::BadAnswer);
        }
        let answer = Answer::read_from_bytes(&packet).map_err(|_| ClientError::BadAnswer)?;
        match (answer.errno.get(), descriptor) {
            (0, Some(fd)) => Ok(Resource {
                resource_id: answer.resource_id.get(),
                uuid: Some(answer.uuid).filter(|uuid| *uuid != [0; 16]),
                buffer: DmaBuf::from_fd(fd).map_err(ClientError::NotADmaBuf)?,
            }),
            (0, None) => Err(ClientError::BadAnswer),
            (2, _) => Err(ClientError::NotFound),
            (errno, _) => Err(ClientError::Refused(errno)),
        }
    }
}
