//! How the daemon starts and ends, and what its front end learns of it before any ring runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use stile_frontend::gpu::create_context;
use stile_frontend::{Daemon, Options, Plan, Vm};
use stile_wire::gpu::types::RESP_OK_NODATA;
use stile_wire::sync::CAPSET_ID;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_gpu::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_stile-gpu"))
}

#[test]
fn the_features_are_those_of_the_design() {
    let daemon = Daemon::start(options());
    let vm = daemon.connect();
    for bit in [
        VIRTIO_GPU_F_VIRGL,
        VIRTIO_GPU_F_EDID,
        VIRTIO_GPU_F_RESOURCE_UUID,
        VIRTIO_GPU_F_RESOURCE_BLOB,
        VIRTIO_GPU_F_CONTEXT_INIT,
        VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_RING_F_EVENT_IDX,
        VIRTIO_F_VERSION_1,
    ] {
        assert!(vm.offers(bit), "feature {bit}");
    }
    // F_BLOB_ALIGNMENT: there is none.
    assert!(!vm.offers(5));
    assert!(vm.has_protocol_features());
    let wanted = VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::BACKEND_SEND_FD
        | VhostUserProtocolFeatures::SHARED_OBJECT
        | VhostUserProtocolFeatures::SHMEM;
    assert_eq!(vm.protocol, wanted);
}

#[test]
fn the_configuration_space_is_readable_at_every_offset() {
    let daemon = Daemon::start(options());
    let mut vm = daemon.connect();
    let mut whole = [0; 64];
    // No outputs, one capset.
    whole[12] = 1;
    let flags = VhostUserConfigFlags::WRITABLE;
    for offset in 0..40_u32 {
        for size in [1, 4, 16, 20, 24] {
            let to = vec![0; size as usize];
            let (_, bytes) = vm.frontend.get_config(offset, size, flags, &to).unwrap();
            let at = offset as usize;
            assert_eq!(bytes, whole[at..at + size as usize], "{offset}+{size}");
        }
    }
    vm.frontend.set_config(4, flags, &[1, 0, 0, 0]).unwrap();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
}

#[test]
fn the_hostmem_region_is_the_second_and_as_large_as_asked_for() {
    for (arguments, regions, size) in [
        (&[][..], 1, 1 << 30),
        (&["--hostmem-mib=256"], 1, 256 << 20),
        (&["--hostmem-mib=0"], 0, 0),
    ] {
        let daemon = Daemon::start(options().with(arguments));
        let mut vm = daemon.connect();
        let config = vm.frontend.get_shmem_config().unwrap();
        assert_eq!({ config.nregions }, regions);
        let sizes = config.memory_sizes;
        assert_eq!(sizes[1], size);
        assert!(
            sizes
                .iter()
                .enumerate()
                .all(|(at, size)| at == 1 || *size == 0)
        );
        assert_eq!(vm.frontend.get_queue_num().unwrap(), 2);
    }
}

#[test]
fn once_ends_with_its_front_end() {
    let mut daemon = Daemon::start(options().with(&["--once"]));
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    assert!(daemon.runs());
    drop(vm);
    assert!(daemon.wait_for_end().success());
}

#[test]
fn an_inherited_connection_is_served_and_then_the_daemon_ends() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut daemon = Daemon::start(options().inheriting(theirs.into()));
    let mut vm = Vm::start(ours, Plan::default());
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    drop(vm);
    assert!(daemon.wait_for_end().success());
}

#[test]
fn an_inherited_listening_socket_gives_one_front_end_after_the_other() {
    let folder = std::env::temp_dir().join(format!("stile-listen-{}", std::process::id()));
    let _old = std::fs::remove_file(&folder);
    let listener = UnixListener::bind(&folder).unwrap();
    let daemon = Daemon::start(options().inheriting(listener.into()));
    for _ in 0..3 {
        let stream = UnixStream::connect(&folder).unwrap();
        let mut vm = Vm::start(stream, Plan::default());
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    }
    drop(daemon);
    std::fs::remove_file(&folder).unwrap();
}

#[test]
fn a_descriptor_that_is_no_stream_socket_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let (datagram, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let inherited: [OwnedFd; 2] = [file.into(), datagram.into()];
    for fd in inherited {
        let mut daemon = Daemon::spawn(options().inheriting(fd), None);
        assert!(!daemon.wait_for_end().success());
        daemon.wait_for_line("is not a Unix stream socket");
    }
    for number in ["0", "1", "2", "999", "-1"] {
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_stile-gpu"))
            .arg(format!("--fd={number}"))
            .stderr(std::process::Stdio::null())
            .status();
        assert!(!status.unwrap().success(), "--fd={number}");
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let first = Daemon::start(options());
    let folder = first.folder().join("inner");
    std::fs::create_dir(&folder).unwrap();
    drop(UnixListener::bind(folder.join("gpu.sock")).unwrap());
    let second = Daemon::spawn(options(), Some(&folder));
    second.wait_for_line("Waiting for a front end");
    let mut vm = second.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
}

#[test]
fn a_socket_in_use_and_a_file_are_left_alone() {
    let daemon = Daemon::start(options());
    let inner = daemon.folder().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::hard_link(daemon.socket(), inner.join("gpu.sock")).unwrap();
    let mut second = Daemon::spawn(options(), Some(&inner));
    assert!(!second.wait_for_end().success());
    second.wait_for_line("Another process is listening");
    drop(second);
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);

    let other = daemon.folder().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("gpu.sock"), "precious").unwrap();
    let mut third = Daemon::spawn(options(), Some(&other));
    assert!(!third.wait_for_end().success());
    third.wait_for_line("there is a file of that name");
    let kept = std::fs::read_to_string(other.join("gpu.sock")).unwrap();
    assert_eq!(kept, "precious");
}

#[test]
fn the_command_line_is_checked() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_stile-gpu"))
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for arguments in [
        &[][..],
        &["--socket=a", "--fd=3"],
        &["--socket=a", "--allocator=gbm"],
        &["--socket=a", "--hostmem-mib=3"],
        &["--socket=a", "--fence-deadline-ms=0"],
        &["--socket=a", "--fence-deadline-ms=600001"],
        &["--socket=a", "--max-pending-fences=0"],
    ] {
        let (success, said) = run(arguments);
        assert!(!success, "{arguments:?}");
        assert!(!said.is_empty());
    }
    for (arguments, named) in [
        (
            &["--socket=/nonexistent/gpu.sock"][..],
            "/nonexistent/gpu.sock",
        ),
        (
            &["--socket=a", "--allocator=vgem:card99"],
            "vgem:/dev/dri/card99",
        ),
        (&["--socket=a", "--allocator=heap:nobody"], "heap:nobody"),
        (&["--socket=a", "--syncobj-node=/dev/null"], "/dev/null"),
    ] {
        let (success, said) = run(arguments);
        assert!(!success, "{arguments:?}");
        assert!(said.contains(named), "{said}");
    }
    assert!(run(&["--version"]).0 && run(&["--help"]).0);
}
