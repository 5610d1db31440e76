//! Read or write: the direction of an access to a buffer.

use bitflags::bitflags;

bitflags! {
    /// How somebody uses a buffer, in the bits of `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`
    /// (`linux/dma-buf.h`).
    ///
    /// When asking what to wait for, it is the access that *will* follow: a reader waits for the
    /// writers, a writer for everybody. When adding a fence, it is the access that the fence
    /// *ends*. The kernel takes both bits together as `WRITE`, and no bit as an error (`EINVAL`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Access: u32 {
        /// The buffer is read.
        const READ = 1;
        /// The buffer is written.
        const WRITE = 2;
    }
}
