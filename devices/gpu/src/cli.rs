//! The command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Parser;
use stile_core::Limits;
use stile_host::AllocatorChoice;

use crate::server::{Config, Endpoint, SyncobjChoice};

/// What is no flag.
const LOG: &str = "STILE_LOG=debug in the environment has it say more, on stderr; warn, less.";

/// A vhost-user virtio-gpu device whose fences are the host kernel's.
#[derive(Debug, Parser)]
#[command(name = "stile-gpu", version, after_help = LOG)]
#[command(group(clap::ArgGroup::new("endpoint").required(true)))]
pub struct Cli {
    /// Listen for front ends on this Unix socket
    #[arg(long, value_name = "PATH", group = "endpoint")]
    socket: Option<PathBuf>,

    /// Use this inherited descriptor: a connected or a listening Unix stream socket
    #[arg(long, value_name = "N", group = "endpoint")]
    fd: Option<RawFd>,

    /// Give the dma-bufs of the guest's resources to host processes of this user, on this socket
    #[arg(long, value_name = "PATH")]
    bridge: Option<PathBuf>,

    /// Where the memory of HOST3D blobs comes from: udmabuf, heap[:NAME] or vgem[:NODE]. Udmabuf,
    /// if this is not given and the host has it
    #[arg(long, value_name = "KIND")]
    allocator: Option<AllocatorChoice>,

    /// The DRM node for the drm_syncobjs of timelines: its path, or none. The first one that has
    /// them, if this is not given
    #[arg(long, value_name = "PATH", value_parser = syncobj_choice)]
    syncobj_node: Option<SyncobjChoice>,

    /// End when the first front end has gone
    #[arg(long)]
    once: bool,

    /// Answer a pending fence after this time whatever the host does, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = Limits::default().fence_deadline_ms,
          value_parser = clap::value_parser!(u32).range(1..=600_000))]
    fence_deadline_ms: u32,

    /// Size of the region that blobs are mapped into, in MiB; a power of two, 0 for none
    #[arg(long, value_name = "MIB", default_value_t = in_mib(Limits::default().hostmem_bytes),
          value_parser = power_of_two)]
    hostmem_mib: u64,

    /// Most fences that may be pending at once; never more than 3/8 of the control queue's length
    #[arg(long, value_name = "N", default_value_t = Limits::default().pending_fences,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_pending_fences: u32,

    /// Most cookies of one context
    #[arg(long, value_name = "N", default_value_t = Limits::default().cookies)]
    max_cookies: u32,

    /// Most timelines of one context
    #[arg(long, value_name = "N", default_value_t = Limits::default().timelines)]
    max_timelines: u32,

    /// Most events that are waited for or have not been told
    #[arg(long, value_name = "N", default_value_t = Limits::default().events)]
    max_events: u32,

    /// Longest time-out of an operation, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = Limits::default().timeout_ms)]
    max_timeout_ms: u32,

    /// Most CPU_BEGIN and CPU_END that may be under way at once, each on a thread
    #[arg(long, value_name = "N", default_value_t = Limits::default().cpu_accesses,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_cpu_accesses: u32,

    /// Most file descriptors in buffers, cookies, timelines and pending operations
    #[arg(long, value_name = "N", default_value_t = Limits::default().fds)]
    max_fds: u32,

    /// Most host memory in blobs, in MiB
    #[arg(long, value_name = "MIB", default_value_t = in_mib(Limits::default().host_bytes))]
    max_host_mib: u64,

    /// Most guest pages in blobs, in MiB
    #[arg(long, value_name = "MIB", default_value_t = in_mib(Limits::default().guest_bytes))]
    max_guest_mib: u64,

    /// Most contexts
    #[arg(long, value_name = "N", default_value_t = Limits::default().contexts)]
    max_contexts: u32,

    /// Most resources
    #[arg(long, value_name = "N", default_value_t = Limits::default().resources)]
    max_resources: u32,

    /// Most blobs mapped at once. QEMU ends at its 512th
    #[arg(long, value_name = "N", default_value_t = Limits::default().maps)]
    max_maps: u32,
}

impl Cli {
    /// The configuration that the command line asks for; `None` without an endpoint, which clap
    /// does not let pass.
    pub fn into_config(self) -> Option<Config> {
        let endpoint = match (self.socket, self.fd) {
            (Some(path), _) => Endpoint::Path(path),
            (None, Some(fd)) => Endpoint::Fd(fd),
            (None, None) => return None,
        };
        let mib = |mib: u64| mib.saturating_mul(MIB);
        let limits = Limits {
            contexts: self.max_contexts,
            resources: self.max_resources,
            host_bytes: mib(self.max_host_mib),
            guest_bytes: mib(self.max_guest_mib),
            maps: self.max_maps,
            hostmem_bytes: mib(self.hostmem_mib),
            cookies: self.max_cookies,
            pending_fences: self.max_pending_fences,
            timelines: self.max_timelines,
            events: self.max_events,
            timeout_ms: self.max_timeout_ms,
            cpu_accesses: self.max_cpu_accesses,
            fds: self.max_fds,
            fence_deadline_ms: self.fence_deadline_ms,
            ..Limits::default()
        };
        let Self {
            bridge,
            allocator,
            syncobj_node,
            once,
            ..
        } = self;
        let syncobjs = syncobj_node.unwrap_or(SyncobjChoice::Find);
        Some(Config {
            endpoint,
            bridge,
            allocator,
            syncobjs,
            limits,
            once,
        })
    }
}

const MIB: u64 = 1 << 20;

fn in_mib(bytes: u64) -> u64 {
    bytes.checked_div(MIB).unwrap_or(0)
}

fn syncobj_choice(text: &str) -> Result<SyncobjChoice, std::convert::Infallible> {
    Ok(match text {
        "none" => SyncobjChoice::None,
        path => SyncobjChoice::Node(path.into()),
    })
}

fn power_of_two(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Ok(0),
        Ok(mib) if mib.is_power_of_two() && mib <= 1 << 20 => Ok(mib),
        Ok(mib) => Err(format!("{mib} is not a power of two up to 1048576")),
        Err(error) => Err(error.to_string()),
    }
}
