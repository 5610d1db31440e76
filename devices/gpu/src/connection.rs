//! The life of one front end: from its connection to its end.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use stile_core::Limits;
use stile_host::SyncobjNode;
use tracing::{info, warn};
use vhost::vhost_user::{BackendReqHandler, Error as ProtocolError};

use crate::allocation::{Allocations, Sources};
use crate::bridge::{Desk, Registry};
use crate::channel::Channel;
use crate::cpu_access::{CpuAccesses, CpuPool};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::reactor::{Reactor, Source, Wake};
use crate::shell::Shell;

/// What lasts longer than a connection.
#[derive(Clone)]
pub(crate) struct Lasting {
    pub(crate) limits: Limits,
    pub(crate) kernel: Kernel,
    pub(crate) cpu: Arc<CpuPool>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) sources: Sources,
    pub(crate) desk: Arc<Desk>,
    pub(crate) syncobjs: Option<SyncobjNode>,
}

/// Serves one front end until it goes. Nothing of it is left afterwards.
///
/// # Errors
/// A system call that always works has failed, or the front end broke the protocol.
pub(crate) fn serve(stream: UnixStream, lasting: &Lasting) -> Result<()> {
    info!("A front end has connected");
    lasting.desk.open();
    let answer = run(stream, lasting);
    lasting.desk.close();
    lasting.registry.clear();
    match &answer {
        Ok(()) => info!("The front end has gone"),
        Err(error) => warn!(%error, "The connection has ended"),
    }
    answer
}

fn run(stream: UnixStream, lasting: &Lasting) -> Result<()> {
    let reactor = Reactor::new()?;
    let channel = Channel::start()?;
    let allocations = Allocations::start(lasting.sources.clone())?;
    reactor.add(&stream, Source::Socket)?;
    reactor.add(channel.wake_fd(), Source::Channel)?;
    reactor.add(allocations.wake_fd(), Source::Allocations)?;
    let cpu = CpuAccesses::new(Arc::clone(&lasting.cpu))?;
    reactor.add(cpu.wake_fd(), Source::Cpu)?;
    reactor.add(lasting.desk.errands(), Source::Bridge)?;
    let shell = Shell::new(
        reactor,
        channel,
        allocations,
        cpu,
        Arc::clone(&lasting.registry),
        lasting.syncobjs.clone(),
        lasting.kernel.signalled.clone(),
    );
    let machine = Machine::new(
        lasting.limits,
        lasting.kernel.operations,
        shell,
        Arc::clone(&lasting.registry),
        Arc::clone(&lasting.desk),
    )?;
    // The `vhost` crate wants a lock; this thread is the only one that takes it.
    let machine = Arc::new(Mutex::new(machine));
    let answer = listen(stream, &machine);
    let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
    info!(counters = ?machine.device.counters(), "What was done for it");
    answer
}

fn listen(stream: UnixStream, machine: &Arc<Mutex<Machine>>) -> Result<()> {
    let mut requests = BackendReqHandler::from_stream(stream, Arc::clone(machine));
    let mut wakes = Vec::new();
    loop {
        {
            // Taken once for many commands: only the requests need it themselves.
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                wakes.clear();
                machine.wait(&mut wakes)?;
                machine.handle(&wakes)?;
                if wakes.contains(&Wake::Source(Source::Socket)) {
                    break;
                }
            }
        }
        match requests.handle_request() {
            Ok(()) => {}
            Err(
                ProtocolError::Disconnected
                | ProtocolError::SocketBroken(_)
                | ProtocolError::PartialMessage,
            ) => return Ok(()),
            Err(error) => return Err(Error::Protocol(error)),
        }
    }
}
