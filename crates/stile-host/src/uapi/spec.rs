//! The ioctls of the host and of syncobjs in `docs/spec` are the kernel's.

use std::mem::{offset_of, size_of};

use rustix::ioctl::{Opcode, opcode};

use super::spec_table::{number, table, tables_of};
use super::{
    DMA_BUF_IOCTL_EXPORT_SYNC_FILE, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, DRM_IOCTL_SYNCOBJ_CREATE,
    DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, DRM_IOCTL_SYNCOBJ_QUERY,
    DRM_IOCTL_SYNCOBJ_SIGNAL, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, DrmSyncobjArray, DrmSyncobjCreate,
    DrmSyncobjHandle, DrmSyncobjTimelineArray,
};
use crate::ioctl::Request;

const BRIDGE: &str = include_str!("../../../../docs/spec/bridge.md");

/// `struct drm_syncobj_handle` before it had a point.
type Handle = [u32; 4];

/// `struct drm_syncobj_wait`, which this crate does without: it waits for points.
#[repr(C)]
struct Wait {
    handles: u64,
    timeout_nsec: i64,
    count_handles: u32,
    flags: u32,
    first_signaled: u32,
    pad: u32,
    deadline_nsec: u64,
}

/// Name, number, struct and its size, as the table has them.
type Row = (String, u64, String, usize);

fn ours<R: Request>(name: &str, size: usize) -> Row {
    row(R::NAME, R::OPCODE, name, size)
}

fn row(ioctl: &str, number: Opcode, name: &str, size: usize) -> Row {
    let code = |name: &str| format!("`{name}`");
    (code(ioctl), u64::from(number), code(name), size)
}

/// One whose struct has grown since, by its number before.
fn of_handle<R: Request<Argument = DrmSyncobjHandle>>() -> Row {
    let number = u8::try_from(R::OPCODE & 0xff).unwrap();
    let number = opcode::read_write::<Handle>(b'd', number);
    row(R::NAME, number, "drm_syncobj_handle", size_of::<Handle>())
}

#[test]
fn the_ioctls_of_syncobjs_are_as_specified() {
    let wait = opcode::read_write::<Wait>(b'd', 0xC3);
    let timelines = "drm_syncobj_timeline_array";
    let size = size_of::<DrmSyncobjTimelineArray>();
    let expected = [
        ours::<DRM_IOCTL_SYNCOBJ_CREATE>("drm_syncobj_create", size_of::<DrmSyncobjCreate>()),
        of_handle::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>(),
        of_handle::<DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE>(),
        row(
            "DRM_IOCTL_SYNCOBJ_WAIT",
            wait,
            "drm_syncobj_wait",
            size_of::<Wait>(),
        ),
        ours::<DRM_IOCTL_SYNCOBJ_SIGNAL>("drm_syncobj_array", size_of::<DrmSyncobjArray>()),
        ours::<DRM_IOCTL_SYNCOBJ_QUERY>(timelines, size),
        ours::<DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL>(timelines, size),
    ];
    assert_eq!(size_of::<Handle>(), offset_of!(DrmSyncobjHandle, point));
    let rows = table("syncobj ioctl").rows.into_iter();
    let specified: Vec<Row> = rows
        .map(|row| {
            let size = usize::try_from(number(&row[3])).unwrap();
            (row[0].clone(), number(&row[1]), row[2].clone(), size)
        })
        .collect();
    assert_eq!(specified, expected);
    for grown in [
        DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD::OPCODE,
        DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE::OPCODE,
    ] {
        assert!(super::spec_table::SPEC.contains(&format!("{grown:#x}")));
    }
}

#[test]
fn the_ioctls_of_the_bridges_clients_are_as_specified() {
    let with_number = |(name, number, ..): Row| (name, number);
    let expected = [
        with_number(ours::<DRM_IOCTL_SYNCOBJ_CREATE>("", 0)),
        with_number(of_handle::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>()),
        with_number(of_handle::<DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE>()),
        with_number(ours::<DMA_BUF_IOCTL_EXPORT_SYNC_FILE>("", 0)),
        with_number(ours::<DMA_BUF_IOCTL_IMPORT_SYNC_FILE>("", 0)),
    ];
    let tables = tables_of(BRIDGE);
    let found = tables
        .iter()
        .find(|table| table.heading[0] == "host ioctl")
        .expect("the table");
    let rows = found.rows.iter();
    let specified: Vec<_> = rows.map(|row| (row[0].clone(), number(&row[1]))).collect();
    assert_eq!(specified, expected);
}
