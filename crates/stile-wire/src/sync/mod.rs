//! The operations of capset `stile-sync` (id 30), as `docs/spec/stile-sync.md` states them.

mod capset;
mod event;
mod op;
mod status;

pub use capset::{CAPSET_ID, CAPSET_VERSION, Capset};
pub use event::{EVENTS_MAGIC, EVENTS_VERSION, EventHeader, EventRecord};
pub use op::{
    Access, Direction, Encoded, Framing, HEADER_BYTES, Op, OpCode, PointEvent, Refused, Step,
    Steps, TimelineFlags, encode_drop, encode_export, encode_import, encode_merge, encode_status,
    encode_wait,
};
pub use status::{
    Block, RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION,
    StatusHeader, StatusRecord, capacity, record_offset,
};

/// Rings of a context, and so the values of `ring_idx`: 0 to 63 (Linux, `virtgpu_drm.h`).
pub const MAX_RINGS: u8 = 64;
