//! How much a guest may have at once.

/// The quotas of a device. Over one, the guest gets a clear error; nobody waits and no fence is
/// lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Contexts.
    pub contexts: u32,
    /// Resources.
    pub resources: u32,
    /// Bytes of host memory in blobs.
    pub host_bytes: u64,
    /// Bytes of guest pages in blobs, each counted as often as a blob names it: the host's kernel
    /// and the device keep lists of them.
    pub guest_bytes: u64,
    /// Blobs mapped into the hostmem region at once. QEMU aborts at its 512th.
    pub maps: u32,
    /// Bytes of the hostmem region.
    pub hostmem_bytes: u64,
    /// Cookies of one context.
    pub cookies: u32,
    /// Fences that are not answered yet, from where on none may begin to wait for anything but the
    /// fences before it, of which a timeline parks one more. Each holds descriptors of the control
    /// queue, and a driver whose queue is full sleeps: see [`crate::Device::set_queue_size`].
    pub pending_fences: u32,
    /// Timelines of one context.
    pub timelines: u32,
    /// Events that the contexts of the device wait for, or have not been told.
    pub events: u32,
    /// Uses of buffers by the CPU that are beginning or ending.
    pub cpu_accesses: u32,
    /// The longest time-out of an operation, in milliseconds.
    pub timeout_ms: u32,
    /// File descriptors in buffers, cookies and watches.
    pub fds: u32,
    /// Bytes of a `SUBMIT_3D` payload.
    pub submit_bytes: u32,
    /// Operations of one `SUBMIT_3D`.
    pub operations: u32,
    /// Rings, fences and waits that the SNAPSHOTs and FROM_RINGs of one submission look at.
    pub looks: u32,
    /// How long a fence may wait, in milliseconds.
    pub fence_deadline_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            contexts: 1024,
            resources: 4096,
            host_bytes: 1 << 30,
            guest_bytes: 4 << 30,
            maps: 480,
            hostmem_bytes: 1 << 30,
            cookies: 1024,
            pending_fences: 128,
            timelines: 1024,
            events: 16384,
            cpu_accesses: 16,
            timeout_ms: 3_600_000,
            fds: 8192,
            submit_bytes: 64 << 10,
            operations: 256,
            looks: 4096,
            fence_deadline_ms: 10_000,
        }
    }
}
