//! A daemon and a player of the GPU, for several lives of guests.

use std::error::Error;

use super::BOOT;
use crate::event::{Event, Order};
use crate::gpu::{Descriptors, Gpu};
use crate::vm::{Daemon, DaemonOptions, Guest, HostGpu, Lab, RunningGuest};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The parts that outlive a guest.
pub(super) struct Scene {
    lab: Lab,
    pub(super) daemon: Daemon,
    pub(super) host_gpu: HostGpu,
    /// The runner's own way to the player.
    pub(super) gpu: Gpu,
    /// What the daemon had open before the first guest.
    before: Descriptors,
}

impl Scene {
    pub(super) fn begin(lab: &Lab, options: &DaemonOptions) -> Result<Self> {
        let daemon = Daemon::start(lab, options)?;
        let host_gpu = HostGpu::start(lab, &daemon.bridge)?;
        let gpu = Gpu::connect(&host_gpu.control)?;
        // Its connection to the bridge is one of the daemon's descriptors, and stays.
        gpu.reconnect()?;
        let before = gpu.descriptors()?;
        Ok(Self {
            lab: lab.clone(),
            daemon,
            host_gpu,
            gpu,
            before,
        })
    }

    /// A guest whose program waits for its orders.
    pub(super) fn guest(&self) -> Guest {
        Guest::new(&self.lab)
            .gpu(&self.daemon)
            .control(&self.host_gpu)
            .program(&["guest-cases", "--across"])
    }

    /// Another player in the place of one that has ended.
    pub(super) fn next_gpu(&mut self) -> Result {
        self.host_gpu = HostGpu::start(&self.lab, &self.daemon.bridge)?;
        self.gpu = Gpu::connect(&self.host_gpu.control)?;
        self.gpu.reconnect()?;
        Ok(())
    }

    /// The guests have ended: the daemon has what it had before the first one.
    pub(super) fn nothing_is_left(&self) -> Result {
        Ok(self.gpu.await_descriptors(&self.before)?)
    }
}

/// Orders these cases.
pub(super) fn order(guest: &mut RunningGuest, cases: &[&str]) -> Result {
    let cases = cases.iter().map(|case| (*case).to_owned()).collect();
    Ok(guest.send(&serde_json::to_string(&Order { cases })?)?)
}

/// Listens until all ordered cases have passed and the guest has powered off.
pub(super) fn passes(guest: &mut RunningGuest, cases: &[&str]) -> Result {
    let mut left = cases.to_vec();
    while let Some(line) = guest.next_line(BOOT)? {
        match serde_json::from_str(&line)? {
            Event::Start { .. } | Event::Again { .. } => {}
            Event::Pass { case, .. } => left.retain(|name| *name != case),
            Event::Fail { case, detail, .. } => return Err(format!("{case}: {detail}").into()),
            Event::Skip { case, detail } => return Err(format!("{case}: {detail}").into()),
            Event::Exit { .. } => break,
        }
    }
    if !left.is_empty() {
        return Err(format!("The guest ended without: {left:?}").into());
    }
    let status = guest.wait(BOOT)?;
    if !status.success() {
        return Err(format!("The VMM ended with {status}").into());
    }
    Ok(())
}

/// Orders and listens.
pub(super) fn runs(guest: &mut RunningGuest, cases: &[&str]) -> Result {
    order(guest, cases)?;
    passes(guest, cases)
}
