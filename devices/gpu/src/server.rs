//! The daemon: its sockets, and one front end after the other.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stile_core::Limits;
use stile_host::{AllocatorChoice, SyncobjNode, Udmabuf};
use tracing::{info, warn};

use crate::allocation::Sources;
use crate::bridge::{self, Desk, Registry};
use crate::connection::{self, Lasting};
use crate::cpu_access::CpuPool;
use crate::error::{Error, Result};
use crate::kernel::Kernel;

/// Where front ends come from.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A socket to listen on.
    Path(PathBuf),
    /// An inherited descriptor: a listening socket, or a connection.
    Fd(RawFd),
}

/// Where the drm_syncobjs of timelines are.
#[derive(Clone, Debug)]
pub enum SyncobjChoice {
    /// On the first DRM node that has them, if there is one.
    Find,
    /// On this DRM node.
    Node(PathBuf),
    /// Nowhere: timelines are not offered.
    None,
}

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where front ends come from.
    pub endpoint: Endpoint,
    /// The bridge's socket.
    pub bridge: Option<PathBuf>,
    /// Where host blobs come from; `None` for udmabuf where the host has it.
    pub allocator: Option<AllocatorChoice>,
    /// Where timelines come from.
    pub syncobjs: SyncobjChoice,
    /// Quotas.
    pub limits: Limits,
    /// Whether to end when the first front end has gone.
    pub once: bool,
}

/// Serves front ends, one after the other: for ever, or until the only one has gone.
///
/// # Errors
/// A socket cannot be made, an allocator or a node that was asked for cannot be used, or, with `once`
/// or a connection, that front end's end was no clean one.
pub fn serve(config: &Config) -> Result<()> {
    // Before anything else is opened, so that the number cannot be one of the daemon's own.
    let inherited = match &config.endpoint {
        Endpoint::Path(_) => None,
        Endpoint::Fd(fd) => Some(inherit(*fd)?),
    };
    let fds = fds_for_guests(&config.limits);
    if fds < config.limits.fds {
        let asked = config.limits.fds;
        info!(
            fds,
            asked, "This process may not open as many files as --max-fds says"
        );
    }
    let limits = Limits {
        fds: config.limits.fds.min(fds),
        ..config.limits
    };
    let registry = Arc::new(Registry::default());
    let desk = Arc::new(Desk::new()?);
    let syncobjs = open_syncobjs(&config.syncobjs)?;
    let allocator = open_allocator(config.allocator.as_ref())?;
    if let Some(path) = &config.bridge {
        let office = bridge::Office {
            registry: Arc::clone(&registry),
            desk: Arc::clone(&desk),
            syncobjs: syncobjs.clone(),
        };
        bridge::start(path, office)?;
        info!(path = %path.display(), "The bridge is open");
    }
    let lasting = Lasting {
        limits,
        kernel: Kernel::ask(allocator.as_deref(), syncobjs.is_some()),
        cpu: Arc::new(CpuPool::new(limits.cpu_accesses)),
        registry,
        sources: Sources {
            host: allocator,
            udmabuf: open_udmabuf(),
        },
        desk,
        syncobjs,
    };
    let listener = match (inherited, &config.endpoint) {
        (Some(Inherited::Connection(stream)), _) => return connection::serve(stream, &lasting),
        (Some(Inherited::Listener(listener)), _) => listener,
        (None, Endpoint::Path(path)) => listen(path)?,
        (None, Endpoint::Fd(fd)) => return Err(Error::NotASocket { fd: *fd }),
    };
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // It has gone before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if is_shortage(&error) => {
                warn!(%error, "No front end can be accepted for now");
                std::thread::sleep(SHORTAGE_PAUSE);
                continue;
            }
            Err(error) => return Err(Error::system("accept4")(error)),
        };
        let answer = connection::serve(stream, &lasting);
        if config.once {
            return answer;
        }
    }
}

/// How long a listener rests when the machine has nothing left for a new connection.
pub(crate) const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);

/// Whether the machine has run out of descriptors or memory.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// What was asked for has to be there. Without the default one, the daemon serves guests that have no
/// need of it.
fn open_allocator(choice: Option<&AllocatorChoice>) -> Result<Option<Arc<stile_host::Allocator>>> {
    match (choice.cloned().unwrap_or_default().open(), choice) {
        (Ok(allocator), _) => Ok(Some(Arc::new(allocator))),
        (Err(error), None) => {
            warn!("HOST3D blobs cannot be made: {error}");
            Ok(None)
        }
        (Err(source), Some(choice)) => Err(Error::Allocator {
            choice: choice.to_string(),
            source,
        }),
    }
}

fn open_syncobjs(choice: &SyncobjChoice) -> Result<Option<SyncobjNode>> {
    let node = match choice {
        SyncobjChoice::None => return Ok(None),
        SyncobjChoice::Find => SyncobjNode::find(),
        SyncobjChoice::Node(path) => {
            Ok(
                SyncobjNode::open(path).map_err(|source| Error::SyncobjNode {
                    path: path.clone(),
                    source,
                })?,
            )
        }
    };
    match node {
        Ok(node) => {
            info!(path = %node.path().display(), "Timelines are on this node");
            Ok(Some(node))
        }
        Err(error) => {
            warn!("Timelines are not offered: {error}");
            Ok(None)
        }
    }
}

fn open_udmabuf() -> Option<Arc<Udmabuf>> {
    match Udmabuf::open() {
        Ok(udmabuf) => Some(Arc::new(udmabuf)),
        Err(error) => {
            warn!("GUEST blobs will have no dma-buf: {error}");
            None
        }
    }
}

/// Descriptors that the daemon keeps for itself: the front end's memory regions, the bridge's
/// clients, buffers that they move, and some more.
const OWN_FDS: u64 = 800;

/// How many descriptors guests may have. Every buffer, cookie and watch is one and the usual 1024
/// are few, so the process' limit is raised as far as it goes.
fn fds_for_guests(limits: &Limits) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "The limit of open files stays as it is");
    }
    // No limit at all is none here either.
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return u32::MAX;
    };
    // Accesses of the CPU keep buffers that the guest has given up.
    let own = OWN_FDS.saturating_add(limits.cpu_accesses.into());
    u32::try_from(limit.saturating_sub(own)).unwrap_or(u32::MAX)
}

fn listen(path: &Path) -> Result<UnixListener> {
    clear_path(path, SocketType::STREAM)?;
    let listener = UnixListener::bind(path).map_err(|source| Error::Listen {
        path: path.to_owned(),
        source,
    })?;
    info!(path = %path.display(), "Waiting for a front end");
    Ok(listener)
}

/// Removes a socket that nobody listens on any more.
pub(crate) fn clear_path(path: &Path, kind: SocketType) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name");
        return Err(Error::Listen {
            path: path.to_owned(),
            source,
        });
    }
    let failed = |source: Errno| Error::Listen {
        path: path.to_owned(),
        source: source.into(),
    };
    let probe =
        socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    match connect(&probe, &SocketAddrUnix::new(path).map_err(failed)?) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|source| Error::Listen {
            path: path.to_owned(),
            source,
        }),
        _ => Err(Error::InUse {
            path: path.to_owned(),
        }),
    }
}

enum Inherited {
    Listener(UnixListener),
    Connection(UnixStream),
}

fn inherit(fd: RawFd) -> Result<Inherited> {
    let not_a_socket = || Error::NotASocket { fd };
    if fd <= 2 {
        return Err(not_a_socket());
    }
    // SAFETY: the number comes from the command line, whose author gives the descriptor to this
    // process; nothing in it has opened one of that number before, as it is asked for first. A
    // number that is not open is found out by the calls below.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let stream = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX);
    if !stream {
        std::mem::forget(fd);
        return Err(not_a_socket());
    }
    rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC).map_err(Error::system::<
        Errno,
    >(
        "fcntl(F_SETFD)",
    ))?;
    if sockopt::socket_acceptconn(&fd).unwrap_or(false) {
        Ok(Inherited::Listener(UnixListener::from(fd)))
    } else {
        Ok(Inherited::Connection(UnixStream::from(fd)))
    }
}
