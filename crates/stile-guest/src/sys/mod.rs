//! The guest kernel's DRM interface, as far as this crate needs it: layouts and safe calls.

mod abi;
mod call;
mod handle;
#[cfg(test)]
mod spec;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the wire's tests")]
#[path = "../../../stile-wire/tests/spec_table/mod.rs"]
mod spec_table;

pub(crate) use abi::{
    BLOB_MEM_GUEST, BLOB_MEM_HOST3D, BLOB_MEM_HOST3D_GUEST, CONTEXT_PARAM_CAPSET_ID,
    CONTEXT_PARAM_DEBUG_NAME, CONTEXT_PARAM_NUM_RINGS, CONTEXT_PARAM_POLL_RINGS_MASK, ContextParam,
    CreateBlob, EXECBUF_RING_IDX, ExecSyncobj, PARAM_3D_FEATURES, PARAM_CONTEXT_INIT,
    PARAM_CROSS_DEVICE, PARAM_EXPLICIT_DEBUG_NAME, PARAM_HOST_VISIBLE, PARAM_RESOURCE_BLOB,
    PARAM_SUPPORTED_CAPSET_IDS,
};
pub(crate) use call::{
    ExecBuffer, context_init, create_blob, execbuffer, get_caps, get_param, resource_info,
};
pub(crate) use handle::{fd_to_handle, fd_to_syncobj, gem_close, handle_to_fd, syncobj_destroy};
