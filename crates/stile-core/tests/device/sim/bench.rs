//! A device on a simulated host, for tests by example.

use stile_core::{Answer, Chain, Device, Errno, Limits, Request, RequestId};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::Access;

use super::guest::{Fenced, GuestCommand};
use super::host::{Sim, Task};
use super::kernel::Source;
use super::ring::Ring;
use super::status::Records;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// A device, its host, the time, and the answers so far.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) sim: Sim,
    pub(crate) device: Device<Sim>,
    pub(crate) now_ns: u64,
    /// Whether buffers are made when the test says so, not at once.
    pub(crate) slow: bool,
    answers: Vec<Answer>,
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            sim: Sim::with_accesses(limits.cpu_accesses),
            device: Device::new(limits, stile_wire::sync::OpCode::mask()),
            now_ns: 1_000 * MS,
            slow: false,
            answers: Vec::new(),
        }
    }

    /// With context 1 and, attached to it, the blobs 1 to `blobs`, each of 16 pages.
    pub(crate) fn with_blobs(blobs: u32) -> Self {
        let mut bench = Self::new(Limits::default());
        bench.context_with_blobs(1, 1..=blobs);
        bench
    }

    /// A context, and blobs that are made where they do not exist and attached to it.
    pub(crate) fn context_with_blobs(&mut self, ctx_id: u32, blobs: impl IntoIterator<Item = u32>) {
        self.ok(&GuestCommand::context(ctx_id));
        for resource_id in blobs {
            if !self.sim.published.contains_key(&resource_id) {
                self.ok(&GuestCommand::blob(resource_id, 16 * 4096));
            }
            self.ok(&GuestCommand::attach(ctx_id, resource_id));
        }
    }

    fn checked(&mut self) {
        self.device.check().expect("the device is whole");
        let answers = self.sim.answers.drain(..);
        self.answers.extend(answers.map(|(answer, _)| answer));
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, command: &GuestCommand, fenced: Fenced) -> Chain {
        self.send_bytes(&command.bytes(fenced))
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Chain {
        let chain = self.sim.open_chain();
        self.device.submit(&mut self.sim, self.now_ns, chain, bytes);
        self.checked();
        if !self.slow && !self.sim.unmade.is_empty() {
            self.make_buffer();
        }
        chain
    }

    /// The host has made the buffer that it was asked for first.
    pub(crate) fn make_buffer(&mut self) {
        let (id, buffer) = self.sim.make_buffer(0);
        self.device.buffer_created(&mut self.sim, id, Ok(buffer));
        self.checked();
    }

    /// The host cannot make the buffer that it was asked for first.
    pub(crate) fn fail_buffer(&mut self, error: Errno) {
        let id = self.sim.unmade.remove(0);
        self.device.buffer_created(&mut self.sim, id, Err(error));
        self.checked();
    }

    /// Sends a command without a fence, which is answered at once.
    pub(crate) fn now(&mut self, command: &GuestCommand) -> Response {
        let chain = self.send(command, Fenced::No);
        self.response(chain).expect("an answer at once")
    }

    /// Sends a command that is well and answered at once.
    pub(crate) fn ok(&mut self, command: &GuestCommand) {
        assert_eq!(self.now(command), Response::Ok, "{command:?}");
    }

    /// Sends a command that is refused at once.
    pub(crate) fn refused(&mut self, command: &GuestCommand) -> ResponseError {
        match self.now(command) {
            Response::Err(error) => error,
            other => panic!("{other:?} to {command:?}"),
        }
    }

    /// Submits operations on context 1, with a fence on one of its rings.
    pub(crate) fn fenced(&mut self, ring: u8, id: u64, operations: &[Vec<u8>]) -> Chain {
        let command = GuestCommand::submit(1, operations);
        self.send(&command, Fenced::Ring(ring, id))
    }

    /// Submits operations on context 1 without a fence.
    pub(crate) fn unfenced(&mut self, operations: &[Vec<u8>]) -> Response {
        self.now(&GuestCommand::submit(1, operations))
    }

    pub(crate) fn answer(&self, chain: Chain) -> Option<Answer> {
        self.answers
            .iter()
            .find(|answer| answer.chain == chain)
            .cloned()
    }

    pub(crate) fn response(&self, chain: Chain) -> Option<Response> {
        self.answer(chain).map(|answer| answer.response)
    }

    pub(crate) fn is_pending(&self, chain: Chain) -> bool {
        self.sim.outstanding.contains(&chain)
    }

    /// The chains that are answered, in their order, without those that were before.
    pub(crate) fn answered(&mut self) -> Vec<Chain> {
        let answers = std::mem::take(&mut self.answers);
        answers.iter().map(|answer| answer.chain).collect()
    }

    /// Work of a host GPU that reads the resource.
    pub(crate) fn reader(&mut self, resource_id: u32) -> Source {
        self.sim.host_work(resource_id, Access::READ)
    }

    /// Work of a host GPU that writes the resource.
    pub(crate) fn writer(&mut self, resource_id: u32) -> Source {
        self.sim.host_work(resource_id, Access::WRITE)
    }

    /// The work is done, and the device hears of it.
    pub(crate) fn signal(&mut self, source: Source) {
        self.fail(source, None);
    }

    /// The work is done or has failed, and the device hears of it.
    pub(crate) fn fail(&mut self, source: Source, error: Option<Errno>) {
        self.sim.kernel.signal(source, self.now_ns, error);
        self.deliver();
    }

    /// The device hears of everything that has signalled.
    pub(crate) fn deliver(&mut self) {
        for wait in self.sim.signalled_watches() {
            self.device
                .signalled(&mut self.sim, self.now_ns, wait, false);
            self.checked();
        }
    }

    /// The device hears of all points that have come so far.
    pub(crate) fn deliver_points(&mut self) {
        let reached = self.sim.reached_points();
        self.device
            .points_reached(&mut self.sim, self.now_ns, reached);
        self.checked();
    }

    /// The event ring that begins at `offset` of a resource.
    pub(crate) fn ring(&self, resource_id: u32, offset: usize) -> Ring {
        Ring::read(&self.sim.storage(resource_id).bytes.borrow(), offset)
    }

    /// A host process asks.
    pub(crate) fn ask(&mut self, request: Request) -> RequestId {
        let id = self.sim.open_request();
        self.device.ask(&mut self.sim, self.now_ns, id, request);
        self.checked();
        id
    }

    /// What a host process was told; `None` while it waits.
    pub(crate) fn told(&self, id: RequestId) -> Option<Result<u64, Errno>> {
        let told = self.sim.told.iter().find(|(told, _)| *told == id);
        assert_ne!(told.is_some(), self.sim.asking().contains(&id), "{id:?}");
        told.map(|(_, answer)| *answer)
    }

    /// A host process does not wait any more.
    pub(crate) fn withdraw(&mut self, id: RequestId) {
        self.device.withdraw(id);
        self.sim.withdrawn(id);
        self.checked();
    }

    /// Time passes.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now_ns += ms * MS;
        self.device.tick(&mut self.sim, self.now_ns);
        self.checked();
    }

    /// The front end has done its job number `nth`, counted from 0, or has failed.
    pub(crate) fn job(&mut self, nth: usize, result: Result<(), Errno>) {
        let (job, _) = self.sim.jobs[nth];
        if result.is_err() {
            self.sim.job_failed(job);
        }
        self.device
            .job_done(&mut self.sim, self.now_ns, job, result);
        self.checked();
    }

    /// The access number `nth` of the CPU, counted from 0, is done or has failed.
    pub(crate) fn accessed(&mut self, nth: usize, result: Result<(), Errno>) {
        let access = &mut self.sim.accesses[nth];
        access.done = true;
        let wait = access.wait;
        self.device
            .cpu_done(&mut self.sim, self.now_ns, wait, result);
        self.checked();
    }

    pub(crate) fn tasks(&self) -> Vec<Task> {
        self.sim.jobs.iter().map(|(_, task)| *task).collect()
    }

    pub(crate) fn reset(&mut self) {
        self.device.reset(&mut self.sim);
        self.sim.forget_chains();
        self.checked();
    }

    /// The status blob that begins at `offset` of a resource.
    pub(crate) fn records(&self, resource_id: u32, offset: usize) -> Records {
        Records::read(&self.sim.storage(resource_id).bytes.borrow(), offset)
    }
}
