//! Blob resources: the buffers that operations are about.

use stile_host::{DmaBuf, Mapping};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::num::wide;
use crate::sys::{self, CreateBlob};

/// Where a blob's memory is (`VIRTGPU_BLOB_MEM_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobMemory {
    /// The guest's own pages, which the host makes a dma-buf of.
    Guest,
    /// A new dma-buf of the host, mapped through the hostmem region.
    Host3d,
    /// A new dma-buf of the host, with pages of the guest beside it.
    Host3dGuest,
}

impl BlobMemory {
    const fn code(self) -> u32 {
        match self {
            Self::Guest => sys::BLOB_MEM_GUEST,
            Self::Host3d => sys::BLOB_MEM_HOST3D,
            Self::Host3dGuest => sys::BLOB_MEM_HOST3D_GUEST,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Guest, Self::Host3d, Self::Host3dGuest]
            .into_iter()
            .find(|memory| memory.code() == code)
    }
}

bitflags::bitflags! {
    /// What a blob may be used for (`VIRTGPU_BLOB_FLAG_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BlobUse: u32 {
        /// It can be mapped. A host blob takes its place in the hostmem region at once.
        const MAPPABLE = 1;
        /// It can be exported as a dma-buf of the guest.
        const SHAREABLE = 2;
        /// Other devices of the VM can use it; needs [`crate::Params::cross_device`].
        const CROSS_DEVICE = 4;
    }
}

/// How a blob is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobOptions {
    /// Where its memory is.
    pub memory: BlobMemory,
    /// What it may be used for.
    pub usage: BlobUse,
    /// Bytes; rounded up to whole pages.
    pub size: u64,
    /// What the host shall make a blob of: 0, a new buffer, in a `stile-sync` context.
    pub blob_id: u64,
}

impl BlobOptions {
    /// A new host buffer of `size` bytes that can be mapped and exported.
    pub const fn host(size: u64) -> Self {
        Self {
            memory: BlobMemory::Host3d,
            usage: BlobUse::MAPPABLE.union(BlobUse::SHAREABLE),
            size,
            blob_id: 0,
        }
    }

    /// `size` bytes of the guest's own pages, which can be mapped and exported.
    pub const fn guest(size: u64) -> Self {
        Self {
            memory: BlobMemory::Guest,
            usage: BlobUse::MAPPABLE.union(BlobUse::SHAREABLE),
            size,
            blob_id: 0,
        }
    }

    /// The same, but used otherwise.
    pub const fn used(mut self, usage: BlobUse) -> Self {
        self.usage = usage;
        self
    }

    /// The same, but in other memory.
    pub const fn in_memory(mut self, memory: BlobMemory) -> Self {
        self.memory = memory;
        self
    }
}

/// A blob resource of a context. Dropping it detaches it from the context; the host's buffer goes
/// when nobody uses it any more.
#[derive(Debug)]
pub struct Blob {
    context: Context,
    handle: u32,
    resource_id: u32,
    size: u64,
    memory: Option<BlobMemory>,
}

impl Blob {
    pub(crate) fn create(context: &Context, options: &BlobOptions) -> Result<Self> {
        let size = options
            .size
            .next_multiple_of(wide(rustix::param::page_size()));
        let mut args = CreateBlob {
            blob_mem: options.memory.code(),
            blob_flags: options.usage.bits(),
            size,
            blob_id: options.blob_id,
            ..CreateBlob::default()
        };
        let handle = context.open_handle(|fd| {
            sys::create_blob(fd, &mut args)
                .map(|()| args.bo_handle)
                .map_err(Error::kernel("VIRTGPU_RESOURCE_CREATE_BLOB"))
        })?;
        Ok(Self {
            context: context.clone(),
            handle,
            resource_id: args.res_handle,
            size,
            memory: Some(options.memory),
        })
    }

    pub(crate) fn import(context: &Context, dma_buf: &DmaBuf) -> Result<Self> {
        let handle = context.open_handle(|fd| {
            sys::fd_to_handle(fd, dma_buf).map_err(Error::kernel("DRM_IOCTL_PRIME_FD_TO_HANDLE"))
        })?;
        // From here on the blob's drop gives the handle back.
        let mut blob = Self {
            context: context.clone(),
            handle,
            resource_id: 0,
            size: 0,
            memory: None,
        };
        let info =
            sys::resource_info(context, handle).map_err(Error::kernel("VIRTGPU_RESOURCE_INFO"))?;
        blob.resource_id = info.res_handle;
        blob.memory = BlobMemory::from_code(info.blob_mem);
        // RESOURCE_INFO's size has 32 bits only.
        blob.size = dma_buf.size();
        Ok(blob)
    }

    /// The resource id, as operations name it and as the bridge of the host knows it.
    pub fn resource_id(&self) -> u32 {
        self.resource_id
    }

    /// Bytes, whole pages.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the memory is; `None` for an imported resource that is not a blob.
    pub fn memory(&self) -> Option<BlobMemory> {
        self.memory
    }

    /// The GEM handle in the context's file.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Maps the whole blob, readable and writable; it stays valid when the blob is dropped. Waits
    /// until the device has mapped a host blob into the hostmem region.
    ///
    /// # Errors
    /// [`Error::Host`]: `EINVAL` where the blob is not [`BlobUse::MAPPABLE`] or the device refused
    /// to make or to map it.
    pub fn map(&self) -> Result<Mapping> {
        Ok(self.dma_buf()?.map(0..self.size)?)
    }

    /// The guest's dma-buf of the blob, as any program of the guest uses it: poll() and
    /// EXPORT_SYNC_FILE see the guest's own reservation object, and so the host's fences wherever
    /// a submission named the blob with [`crate::Submission::fence_on`].
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn dma_buf(&self) -> Result<DmaBuf> {
        let fd = sys::handle_to_fd(&self.context, self.handle)
            .map_err(Error::kernel("DRM_IOCTL_PRIME_HANDLE_TO_FD"))?;
        Ok(DmaBuf::from_fd(fd)?)
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.context.close_handle(self.handle);
    }
}
