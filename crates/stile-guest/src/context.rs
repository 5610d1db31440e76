//! A context on the device: its rings, its blobs, its submissions.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use stile_host::{DmaBuf, Syncobj};
use stile_wire::sync::{CAPSET_ID, Capset, MAX_RINGS, OpCode};

use crate::blob::{Blob, BlobOptions};
use crate::error::{Error, Result};
use crate::node::RenderNode;
use crate::order::Order;
use crate::submission::{Submission, Submitted};
use crate::syncobj::OutSyncobj;
use crate::sys::{self, ContextParam};

/// How a context is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextOptions {
    /// Rings, 1 to 64. Fences of one ring signal in the order of their submissions; what shall be
    /// independent needs rings of its own.
    pub rings: u8,
    /// Bit n: each fence of ring n also makes the context's file readable, see
    /// [`Context::take_events`].
    pub polled_rings: u64,
    /// A name for the host's logs, at most 63 bytes; left out where the kernel does not take one.
    pub debug_name: Option<String>,
    /// The capset, 30 (`stile-sync`). A context of another capset has no [`Context::capset`].
    pub capset_id: u32,
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            rings: MAX_RINGS,
            polled_rings: 0,
            debug_name: None,
            capset_id: CAPSET_ID,
        }
    }
}

/// A context, and with it the opened file: an opened node has one. Cloning is cheap and gives the
/// same context; it is destroyed when the last clone and the last blob are gone.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: RenderNode,
    rings: u8,
    polled_rings: u64,
    capset: Capset,
    order: Order,
    /// How many blobs use a GEM handle. The kernel hands out the same handle for the same buffer
    /// and closes it at the first request, so somebody has to count.
    handles: Mutex<HashMap<u32, usize>>,
}

impl Context {
    /// Makes the context on a freshly opened node.
    ///
    /// # Errors
    /// [`Error::NoCapset`] or [`Error::CapsetVersion`] where the device is not one of ours,
    /// [`Error::Rings`], [`Error::DebugName`], or what the kernel says to CONTEXT_INIT.
    pub fn new(node: RenderNode, options: &ContextOptions) -> Result<Self> {
        if options.rings == 0 || options.rings > MAX_RINGS {
            return Err(Error::Rings {
                rings: options.rings.into(),
            });
        }
        let params = node.params()?;
        if !params.has_capset(options.capset_id) {
            return Err(Error::NoCapset {
                id: options.capset_id,
                mask: params.capset_ids,
            });
        }
        let capset = node.capset()?;
        let name = options.debug_name.as_deref().map(debug_name).transpose()?;
        let mut init = vec![
            ContextParam {
                param: sys::CONTEXT_PARAM_CAPSET_ID,
                value: options.capset_id.into(),
            },
            ContextParam {
                param: sys::CONTEXT_PARAM_NUM_RINGS,
                value: options.rings.into(),
            },
        ];
        if options.polled_rings != 0 {
            init.push(ContextParam {
                param: sys::CONTEXT_PARAM_POLL_RINGS_MASK,
                value: options.polled_rings,
            });
        }
        let name = name.filter(|_| params.debug_name);
        sys::context_init(&node, &init, name.as_deref())
            .map_err(Error::kernel("VIRTGPU_CONTEXT_INIT"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                node,
                rings: options.rings,
                polled_rings: options.polled_rings,
                capset,
                order: Order::default(),
                handles: Mutex::default(),
            }),
        })
    }

    /// The device's operations and limits.
    pub fn capset(&self) -> &Capset {
        &self.inner.capset
    }

    /// Whether the device offers the operation. What a host cannot do is left out of the mask, such
    /// as timelines on one without a DRM node.
    pub fn offers(&self, op: OpCode) -> bool {
        self.inner.capset.operations.get() & op.bit() != 0
    }

    /// Rings of the context: 1 to 64.
    pub fn rings(&self) -> u8 {
        self.inner.rings
    }

    pub(crate) fn polled_rings(&self) -> u64 {
        self.inner.polled_rings
    }

    pub(crate) fn order(&self) -> &Order {
        &self.inner.order
    }

    /// Makes a blob resource; the kernel attaches it to this context.
    ///
    /// # Errors
    /// [`Error::Kernel`]. What the *device* says to it is only logged by the kernel: a blob that
    /// the host has no memory for fails at [`Blob::map`] or at the first operation (`ENOENT`).
    pub fn create_blob(&self, options: &BlobOptions) -> Result<Blob> {
        Blob::create(self, options)
    }

    /// This context's blob of a dma-buf that was exported from any context of the same device.
    ///
    /// # Errors
    /// [`Error::Kernel`]: `EINVAL` or `ENODEV` for another device's dma-buf.
    pub fn import_blob(&self, dma_buf: &DmaBuf) -> Result<Blob> {
        Blob::import(self, dma_buf)
    }

    /// This context's handle of a syncobj, to put fences into. It is the same syncobj, wherever it
    /// was made.
    ///
    /// # Errors
    /// [`Error::Kernel`] or [`Error::Host`], such as `EMFILE`.
    pub fn use_syncobj(&self, syncobj: &Syncobj) -> Result<OutSyncobj> {
        OutSyncobj::new(self, syncobj)
    }

    /// The node that the context is on.
    pub fn node(&self) -> &RenderNode {
        &self.inner.node
    }

    /// Sends a submission to the device. Returns when it is queued, not when it is done.
    ///
    /// # Errors
    /// See [`Submission`].
    pub fn submit(&self, submission: &Submission<'_>) -> Result<Submitted> {
        submission.submit(self)
    }

    /// Takes the ring events that have come in, and says how many. The context's file polls
    /// readable while there are any. They say neither which ring nor which fence: look at the
    /// fences. Events that nobody takes make later submissions on polled rings fail (`ENOMEM`).
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn take_events(&self) -> Result<usize> {
        // The kernel keeps 4096 bytes of events for a file, 8 bytes each.
        let mut buffer = [0_u8; 4096];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.inner.node, &mut buffer[..])) {
            Ok(bytes) => Ok(bytes.checked_div(8).unwrap_or(0)),
            Err(Errno::AGAIN) => Ok(0),
            Err(errno) => Err(Error::kernel("read of the DRM file")(errno)),
        }
    }

    /// Whether both are the same context.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Runs `open`, which gets a GEM handle, and counts one more user of it. Nobody can close the
    /// handle in between.
    pub(crate) fn open_handle(
        &self,
        open: impl FnOnce(BorrowedFd<'_>) -> Result<u32>,
    ) -> Result<u32> {
        let mut handles = self.handles();
        let handle = open(self.as_fd())?;
        let users = handles.entry(handle).or_insert(0);
        *users = users.saturating_add(1);
        Ok(handle)
    }

    /// One user of the GEM handle less; closes it with the last.
    pub(crate) fn close_handle(&self, handle: u32) {
        let mut handles = self.handles();
        match handles.get_mut(&handle) {
            Some(users) if *users > 1 => *users = users.saturating_sub(1),
            _ => {
                handles.remove(&handle);
                // It can only fail for a handle that does not exist, and then it is closed.
                let _ = sys::gem_close(&self.inner.node, handle);
            }
        }
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.inner
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Context {
    /// The DRM file: it polls readable when there are ring events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.node.as_fd()
    }
}

fn debug_name(name: &str) -> Result<CString> {
    // The kernel keeps 64 bytes, the NUL included.
    match CString::new(name) {
        Ok(text) if name.len() < 64 => Ok(text),
        _ => Err(Error::DebugName { name: name.into() }),
    }
}
