//! The operations: their codes, layouts, decoding and encoding.
//!
//! A `SUBMIT_3D` payload is a sequence of operations, each as long as its `cmd_size`. The header is
//! cross-domain's, so that both kinds can stand in one submission; the codes start at 0x80, above
//! every cross-domain command.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags::bitflags! {
    /// Which fences of a buffer an operation is about (`DMA_BUF_SYNC_READ` and
    /// `DMA_BUF_SYNC_WRITE`, Linux `dma-buf.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// The access is a read: it waits for writers, and later writers wait for it.
        const READ = 1;
        /// The access is a write: it waits for everybody, and everybody waits for it.
        const WRITE = 2;
    }
}

/// Operation codes. A code's bit in [`super::Capset::operations`] is `1 << (code - 0x80)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` on a resource.
    Export = 0x80,
    /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` on a resource.
    Import = 0x81,
    /// `SYNC_IOC_MERGE` of two cookies.
    Merge = 0x82,
    /// The submission's fence waits for a cookie.
    Wait = 0x83,
    /// Forgets a cookie.
    Drop = 0x84,
    /// Names the context's status blob.
    Status = 0x85,
}

impl OpCode {
    /// Every operation that this version knows, in the order of the codes.
    pub const ALL: [Self; 6] = [
        Self::Export,
        Self::Import,
        Self::Merge,
        Self::Wait,
        Self::Drop,
        Self::Status,
    ];

    /// The code as it stands in the header's first byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Export => 0x80,
            Self::Import => 0x81,
            Self::Merge => 0x82,
            Self::Wait => 0x83,
            Self::Drop => 0x84,
            Self::Status => 0x85,
        }
    }

    /// The mask of all operations, as the capset states it.
    pub fn mask() -> u64 {
        Self::ALL.iter().fold(0, |mask, op| {
            mask | 1_u64.checked_shl(u32::from(op.code() & 0x7f)).unwrap_or(0)
        })
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.code() == code)
    }
}

/// Bytes of the header that every operation starts with.
pub const HEADER_BYTES: usize = size_of::<Header>();

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    cmd: u8,
    ring_idx: u8,
    cmd_size: U16,
    tag: U32,
}

/// EXPORT and IMPORT.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BufferOp {
    header: Header,
    resource_id: U32,
    access: U32,
    cookie: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MergeOp {
    header: Header,
    first: U64,
    second: U64,
    cookie: U64,
}

/// WAIT and DROP.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CookieOp {
    header: Header,
    cookie: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StatusOp {
    header: Header,
    resource_id: U32,
    reserved: U32,
    offset: U64,
    size: U64,
}

/// One operation, decoded. Resource ids and cookies are the guest's and unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// What is on the buffer now; the submission's fence waits for it, and a cookie keeps it.
    Export {
        /// The buffer.
        resource_id: u32,
        /// Whose fences: of writers (`READ`) or of everybody (`WRITE`).
        access: Access,
        /// The name of the host sync_file from now on; 0 for none.
        cookie: u64,
    },
    /// Puts a cookie's fences on the buffer.
    Import {
        /// The buffer.
        resource_id: u32,
        /// As read fences or as write fences.
        access: Access,
        /// The host sync_file.
        cookie: u64,
    },
    /// One sync_file that signals when both have.
    Merge {
        /// A cookie.
        first: u64,
        /// Another, or the same.
        second: u64,
        /// The name of the result.
        cookie: u64,
    },
    /// The submission's fence waits for the cookie.
    Wait {
        /// The host sync_file.
        cookie: u64,
    },
    /// The cookie is free again. Fences that wait for it go on waiting.
    Drop {
        /// The host sync_file.
        cookie: u64,
    },
    /// The context's status blob lies in this resource from now on; id 0 for none.
    Status {
        /// A blob resource attached to the context, or 0.
        resource_id: u32,
        /// Where it starts, in bytes; a multiple of 64.
        offset: u64,
        /// Its length in bytes; at least 128.
        size: u64,
    },
}

impl Op {
    /// The operation's code.
    pub const fn code(&self) -> OpCode {
        match self {
            Self::Export { .. } => OpCode::Export,
            Self::Import { .. } => OpCode::Import,
            Self::Merge { .. } => OpCode::Merge,
            Self::Wait { .. } => OpCode::Wait,
            Self::Drop { .. } => OpCode::Drop,
            Self::Status { .. } => OpCode::Status,
        }
    }
}

/// Why a well framed operation is refused. Later operations of the submission still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The code is none of this version's.
    #[error("Unknown operation code")]
    UnknownCode,
    /// `cmd_size` is not the operation's.
    #[error("The operation's size is not its code's")]
    WrongSize,
    /// `access` is zero or has unknown bits.
    #[error("The access flags are zero or unknown")]
    BadAccess,
    /// A reserved field is not zero.
    #[error("A reserved field is not zero")]
    BadReserved,
    /// Cookie 0 where one is needed.
    #[error("Cookie 0 names nothing")]
    NoCookie,
}

/// One operation of a submission, or the reason it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The header's first byte.
    pub cmd: u8,
    /// The header's ring.
    pub ring_idx: u8,
    /// The guest's own mark; the status record repeats it.
    pub tag: u32,
    /// The cookie that the operation names or makes, for its status record; 0 for none.
    pub cookie: u64,
    /// The resource that the operation names, for its status record; 0 for none.
    pub resource_id: u32,
    /// What to do.
    pub op: Result<Op, Refused>,
}

/// The submission cannot be cut into operations from here on: a header or `cmd_size` does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Operation of {size} bytes does not fit into the {left} that are left")]
pub struct Framing {
    /// The `cmd_size` found; 0 where the header itself is cut short.
    pub size: u16,
    /// The bytes left in the submission.
    pub left: usize,
    /// The header's first byte, 0 where it is missing.
    pub cmd: u8,
    /// The header's mark, 0 where it is cut short.
    pub tag: u32,
}

/// Cuts a `SUBMIT_3D` payload into its operations. Ends after the first [`Framing`] error.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    rest: &'a [u8],
}

impl<'a> Steps<'a> {
    /// The operations of `payload`.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, Framing>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        let rest = core::mem::take(&mut self.rest);
        let Ok((header, _)) = Header::ref_from_prefix(rest) else {
            let cmd = rest.first().copied().unwrap_or(0);
            return Some(Err(Framing {
                size: 0,
                left,
                cmd,
                tag: 0,
            }));
        };
        let size = header.cmd_size.get();
        let whole = usize::from(size);
        let framing = Framing {
            size,
            left,
            cmd: header.cmd,
            tag: header.tag.get(),
        };
        if whole < HEADER_BYTES || !whole.is_multiple_of(8) {
            return Some(Err(framing));
        }
        let Some((bytes, rest)) = rest.split_at_checked(whole) else {
            return Some(Err(framing));
        };
        self.rest = rest;
        Some(Ok(decode(header, bytes)))
    }
}

fn decode(header: &Header, bytes: &[u8]) -> Step {
    let mut step = Step {
        cmd: header.cmd,
        ring_idx: header.ring_idx,
        tag: header.tag.get(),
        cookie: 0,
        resource_id: 0,
        op: Err(Refused::UnknownCode),
    };
    step.op = match OpCode::from_code(header.cmd) {
        None => Err(Refused::UnknownCode),
        Some(OpCode::Export) => {
            buffer_op(bytes, &mut step).map(|(resource_id, access, cookie)| Op::Export {
                resource_id,
                access,
                cookie,
            })
        }
        Some(OpCode::Import) => {
            buffer_op(bytes, &mut step).and_then(|(resource_id, access, cookie)| {
                named(cookie)?;
                Ok(Op::Import {
                    resource_id,
                    access,
                    cookie,
                })
            })
        }
        Some(OpCode::Merge) => whole::<MergeOp>(bytes).and_then(|op| {
            step.cookie = op.cookie.get();
            let first = named(op.first.get())?;
            let second = named(op.second.get())?;
            Ok(Op::Merge {
                first,
                second,
                cookie: named(step.cookie)?,
            })
        }),
        Some(OpCode::Wait) => cookie_op(bytes, &mut step).map(|cookie| Op::Wait { cookie }),
        Some(OpCode::Drop) => cookie_op(bytes, &mut step).map(|cookie| Op::Drop { cookie }),
        Some(OpCode::Status) => whole::<StatusOp>(bytes).and_then(|op| {
            step.resource_id = op.resource_id.get();
            if op.reserved.get() != 0 {
                return Err(Refused::BadReserved);
            }
            Ok(Op::Status {
                resource_id: step.resource_id,
                offset: op.offset.get(),
                size: op.size.get(),
            })
        }),
    };
    step
}

fn whole<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> Result<&T, Refused> {
    T::ref_from_bytes(bytes).map_err(|_| Refused::WrongSize)
}

fn named(cookie: u64) -> Result<u64, Refused> {
    if cookie == 0 {
        Err(Refused::NoCookie)
    } else {
        Ok(cookie)
    }
}

fn buffer_op(bytes: &[u8], step: &mut Step) -> Result<(u32, Access, u64), Refused> {
    let op = whole::<BufferOp>(bytes)?;
    step.resource_id = op.resource_id.get();
    step.cookie = op.cookie.get();
    let access = Access::from_bits(op.access.get())
        .filter(|access| !access.is_empty())
        .ok_or(Refused::BadAccess)?;
    Ok((step.resource_id, access, step.cookie))
}

fn cookie_op(bytes: &[u8], step: &mut Step) -> Result<u64, Refused> {
    step.cookie = whole::<CookieOp>(bytes)?.cookie.get();
    named(step.cookie)
}

const fn header(op: OpCode, ring_idx: u8, tag: u32, size: u16) -> Header {
    Header {
        cmd: op.code(),
        ring_idx,
        cmd_size: U16::new(size),
        tag: U32::new(tag),
    }
}

fn buffer_bytes(header: Header, resource_id: u32, access: Access, cookie: u64) -> [u8; 24] {
    zerocopy::transmute!(BufferOp {
        header,
        resource_id: U32::new(resource_id),
        access: U32::new(access.bits()),
        cookie: U64::new(cookie),
    })
}

fn cookie_bytes(header: Header, cookie: u64) -> [u8; 16] {
    zerocopy::transmute!(CookieOp {
        header,
        cookie: U64::new(cookie)
    })
}

/// EXPORT, 24 bytes. `cookie` 0 keeps no name for the result.
pub fn encode_export(
    ring: u8,
    tag: u32,
    resource_id: u32,
    access: Access,
    cookie: u64,
) -> [u8; 24] {
    buffer_bytes(
        header(OpCode::Export, ring, tag, 24),
        resource_id,
        access,
        cookie,
    )
}

/// IMPORT, 24 bytes.
pub fn encode_import(
    ring: u8,
    tag: u32,
    resource_id: u32,
    access: Access,
    cookie: u64,
) -> [u8; 24] {
    buffer_bytes(
        header(OpCode::Import, ring, tag, 24),
        resource_id,
        access,
        cookie,
    )
}

/// MERGE of `first` and `second` into the new `cookie`, 32 bytes.
pub fn encode_merge(ring: u8, tag: u32, first: u64, second: u64, cookie: u64) -> [u8; 32] {
    zerocopy::transmute!(MergeOp {
        header: header(OpCode::Merge, ring, tag, 32),
        first: U64::new(first),
        second: U64::new(second),
        cookie: U64::new(cookie),
    })
}

/// WAIT, 16 bytes.
pub fn encode_wait(ring: u8, tag: u32, cookie: u64) -> [u8; 16] {
    cookie_bytes(header(OpCode::Wait, ring, tag, 16), cookie)
}

/// DROP, 16 bytes.
pub fn encode_drop(ring: u8, tag: u32, cookie: u64) -> [u8; 16] {
    cookie_bytes(header(OpCode::Drop, ring, tag, 16), cookie)
}

/// STATUS, 32 bytes. `offset` and `size` in bytes; `resource_id` 0 for no status blob.
pub fn encode_status(ring: u8, tag: u32, resource_id: u32, offset: u64, size: u64) -> [u8; 32] {
    zerocopy::transmute!(StatusOp {
        header: header(OpCode::Status, ring, tag, 32),
        resource_id: U32::new(resource_id),
        reserved: U32::ZERO,
        offset: U64::new(offset),
        size: U64::new(size),
    })
}
