//! Syncobjs that submissions put their fences into.

use stile_host::Syncobj;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::sys;

/// A context's handle of a syncobj, see [`Context::use_syncobj`]. The handle goes with it; the
/// syncobj and the fences in it stay.
#[derive(Debug)]
pub struct OutSyncobj {
    context: Context,
    handle: u32,
}

impl OutSyncobj {
    pub(crate) fn new(context: &Context, syncobj: &Syncobj) -> Result<Self> {
        let fd = syncobj.export_fd()?;
        let handle = sys::fd_to_syncobj(context, fd)
            .map_err(Error::kernel("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE"))?;
        Ok(Self {
            context: context.clone(),
            handle,
        })
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The handle in the context's file.
    pub fn handle(&self) -> u32 {
        self.handle
    }
}

impl Drop for OutSyncobj {
    fn drop(&mut self) {
        // It can only fail for a handle that does not exist, and this one does.
        let _ = sys::syncobj_destroy(&self.context, self.handle);
    }
}
