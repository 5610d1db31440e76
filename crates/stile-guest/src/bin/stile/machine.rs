//! A session with names for its buffers and cookies: what every subcommand works on.

mod events;
mod fences;
mod timelines;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use stile_guest::{
    Access, Blob, BlobMemory, BlobOptions, Cookie, DmaBuf, DmaBufAccess, Error, EventOptions,
    FenceOptions, HostClock, OpCode, Pending, Record, RecordFlags, Session, SessionOptions,
    Timeline,
};

use crate::args::Args;
use crate::failure::Failure;
use crate::output::{Output, Value};

/// How much longer than the device's deadline a fence may take.
const GRACE: Duration = Duration::from_secs(5);

/// What is done to a buffer that takes time and leaves no cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Poll,
    CpuBegin,
    CpuEnd,
}

/// Buffers, cookies, timelines, events and pending fences by name.
#[derive(Debug)]
pub(crate) struct Machine {
    session: Session,
    output: Output,
    buffers: BTreeMap<String, Blob>,
    cookies: BTreeMap<String, Cookie>,
    /// Operations that have begun, by the name to finish them.
    started: BTreeMap<String, (Pending, Instant)>,
    timelines: BTreeMap<String, Timeline>,
    events: BTreeMap<u64, String>,
    clock: Option<HostClock>,
}

impl Machine {
    pub(crate) fn open(args: &Args) -> Result<Self, Failure> {
        let node = crate::node(args)?;
        let mut options = SessionOptions::default();
        options.context.debug_name = Some("stile".into());
        if node.capset()?.operations.get() & OpCode::Events.bit() != 0 {
            options.events = Some(EventOptions::default());
        }
        Ok(Self {
            session: Session::open(node, &options)?,
            output: Output { json: args.json },
            buffers: BTreeMap::new(),
            cookies: BTreeMap::new(),
            started: BTreeMap::new(),
            timelines: BTreeMap::new(),
            events: BTreeMap::new(),
            clock: None,
        })
    }

    /// Makes a buffer.
    pub(crate) fn create(
        &mut self,
        name: &str,
        bytes: u64,
        memory: BlobMemory,
    ) -> Result<(), Failure> {
        let options = BlobOptions::host(bytes).in_memory(memory);
        let blob = self.session.create_blob(&options)?;
        // Who reads of the resource may ask the host for it at once.
        self.session.settle()?;
        self.add(name, blob)
    }

    /// Takes an inherited dma-buf as a buffer.
    pub(crate) fn adopt(&mut self, name: &str, fd: i32) -> Result<(), Failure> {
        let wrong = || Failure::Usage(format!("Descriptor {fd} is not open"));
        if fd < 0 {
            return Err(wrong());
        }
        // SAFETY: The number is borrowed for the one call that duplicates it, which fails with
        // EBADF where it is not open; -1 has been ruled out. Whoever started this program has
        // given the descriptor for this use, and nothing here closes it.
        let inherited = unsafe { BorrowedFd::borrow_raw(fd) };
        let fd: OwnedFd = inherited.try_clone_to_owned().map_err(|_| wrong())?;
        let blob = self.session.context().import_blob(&DmaBuf::from_fd(fd)?)?;
        self.add(name, blob)
    }

    fn add(&mut self, name: &str, blob: Blob) -> Result<(), Failure> {
        let memory = match blob.memory() {
            Some(BlobMemory::Host3d) => "host",
            Some(BlobMemory::Guest) => "guest",
            Some(BlobMemory::Host3dGuest) => "both",
            None => "none",
        };
        let fields = [
            ("resource", blob.resource_id().into()),
            ("bytes", blob.size().into()),
            ("memory", memory.into()),
        ];
        self.buffers.insert(name.into(), blob);
        self.output.event("buffer", name, &fields)
    }

    /// Gives a buffer up.
    pub(crate) fn close(&mut self, name: &str) -> Result<(), Failure> {
        match self.buffers.remove(name) {
            Some(_) => self.output.event("closed", name, &[]),
            None => Err(no_buffer(name)),
        }
    }

    /// Begins an EXPORT; says whether it is pending.
    pub(crate) fn export(
        &mut self,
        buffer: &str,
        access: Access,
        cookie: &str,
        onto_buffer: bool,
    ) -> Result<(), Failure> {
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        let options = FenceOptions {
            onto_buffer,
            ..FenceOptions::default()
        };
        let begun = Instant::now();
        let pending = self.session.export_with(blob, access, options)?;
        if let Some(made) = pending.cookie() {
            self.cookies.insert(cookie.into(), made);
        }
        self.begun("export", cookie, buffer, (pending, begun))
    }

    /// Begins POLL, CPU_BEGIN or CPU_END; says whether it is pending.
    pub(crate) fn begin(
        &mut self,
        what: Use,
        buffer: &str,
        access: Access,
        mark: &str,
    ) -> Result<(), Failure> {
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        let begun = Instant::now();
        let (word, pending) = match what {
            Use::Poll => ("poll", self.session.poll(blob, access)?),
            Use::CpuBegin => ("cpu-begin", self.session.cpu_begin(blob, access)?),
            Use::CpuEnd => ("cpu-end", self.session.cpu_end(blob, access)?),
        };
        self.begun(word, mark, buffer, (pending, begun))
    }

    /// The device has taken the operation up by then: fences that come on the buffer from now on
    /// do not count.
    fn begun(
        &mut self,
        what: &'static str,
        name: &str,
        buffer: &str,
        (pending, begun): (Pending, Instant),
    ) -> Result<(), Failure> {
        self.session.settle_for(&[&pending.fence])?;
        let state = if pending.fence.signalled()? {
            "signalled"
        } else {
            "pending"
        };
        let fields = [
            ("buffer", buffer.into()),
            ("state", state.into()),
            ("ring", pending.ring().into()),
        ];
        self.started.insert(name.into(), (pending, begun));
        self.output.event(what, name, &fields)
    }

    /// Waits for the fence of an operation that has begun, and says what became of it.
    pub(crate) fn finish(&mut self, name: &str, timeout: Option<Duration>) -> Result<(), Failure> {
        let Some((pending, begun)) = self.started.remove(name) else {
            let text = format!("{name} is nothing that has begun and is not finished");
            return Err(Failure::Usage(text));
        };
        match self.conclude(name, &pending, begun, timeout) {
            Err(Failure::Guest(error @ Error::Timeout { .. })) => {
                self.started.insert(name.into(), (pending, begun));
                Err(error.into())
            }
            other => other,
        }
    }

    /// WAIT for a cookie, until it has signalled.
    pub(crate) fn wait(&mut self, cookie: &str, timeout: Option<Duration>) -> Result<(), Failure> {
        let named = self.cookie(cookie)?;
        let begun = Instant::now();
        let pending = self.session.wait(named)?;
        self.conclude(cookie, &pending, begun, timeout)
    }

    /// IMPORT.
    pub(crate) fn import(
        &mut self,
        buffer: &str,
        access: Access,
        cookie: &str,
    ) -> Result<(), Failure> {
        let named = self.cookie(cookie)?;
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        self.session.import(blob, access, named)?;
        let fields = [("buffer", buffer.into()), ("errno", 0_u32.into())];
        self.output.event("import", cookie, &fields)
    }

    /// MERGE.
    pub(crate) fn merge(&mut self, first: &str, second: &str, name: &str) -> Result<(), Failure> {
        let merged = self
            .session
            .merge(self.cookie(first)?, self.cookie(second)?)?;
        self.cookies.insert(name.into(), merged);
        let fields = [("first", first.into()), ("second", second.into())];
        self.output.event("merge", name, &fields)
    }

    /// DROP.
    pub(crate) fn forget(&mut self, cookie: &str) -> Result<(), Failure> {
        let named = self.cookie(cookie)?;
        self.session.drop_cookie(named)?;
        self.cookies.remove(cookie);
        self.output.event("dropped", cookie, &[])
    }

    /// Asks the guest's own dma-buf.
    pub(crate) fn look(&mut self, name: &str, access: Access) -> Result<(), Failure> {
        let dma_buf = self.buffer(name)?.dma_buf()?;
        let access = DmaBufAccess::from_bits_retain(access.bits());
        let state = if dma_buf.poll(access)? {
            "idle"
        } else {
            "busy"
        };
        self.output.event("guest", name, &[("state", state.into())])
    }

    /// Writes the whole buffer.
    pub(crate) fn fill(&mut self, name: &str, byte: u8) -> Result<(), Failure> {
        let memory = self.buffer(name)?.map()?;
        memory.write(0, &vec![byte; memory.len()])?;
        self.output.event("filled", name, &[("byte", byte.into())])
    }

    /// Compares the whole buffer.
    pub(crate) fn check(&mut self, name: &str, wanted: u8) -> Result<(), Failure> {
        let memory = self.buffer(name)?.map()?;
        let mut bytes = vec![0; memory.len()];
        memory.read(0, &mut bytes)?;
        match (0..).zip(bytes).find(|(_, found)| *found != wanted) {
            Some((offset, found)) => Err(Failure::Differs {
                name: name.into(),
                offset,
                found,
                wanted,
            }),
            None => self
                .output
                .event("checked", name, &[("byte", wanted.into())]),
        }
    }

    /// How long a fence may take where nobody says otherwise.
    fn patience(&self) -> Duration {
        let deadline = self.session.context().capset().fence_deadline_ms.get();
        Duration::from_millis(deadline.into()).saturating_add(GRACE)
    }

    fn conclude(
        &mut self,
        name: &str,
        pending: &Pending,
        begun: Instant,
        timeout: Option<Duration>,
    ) -> Result<(), Failure> {
        let timeout = timeout.unwrap_or_else(|| self.patience());
        if !pending.fence.wait(Some(timeout))? {
            let waited_ms = timeout.as_millis();
            return Err(Error::Timeout { waited_ms }.into());
        }
        let after = begun.elapsed();
        let record = self.session.result(pending.tag())?;
        let mut fields = vec![("after_ms", milliseconds(after))];
        fields.extend(record_fields(&record));
        self.output.event("signalled", name, &fields)?;
        refused(&record, pending.op())
    }

    fn buffer(&self, name: &str) -> Result<&Blob, Failure> {
        self.buffers.get(name).ok_or_else(|| no_buffer(name))
    }

    fn cookie(&self, name: &str) -> Result<Cookie, Failure> {
        let text = || Failure::Usage(format!("There is no cookie {name}"));
        self.cookies.get(name).copied().ok_or_else(text)
    }
}

fn no_buffer(name: &str) -> Failure {
    Failure::Usage(format!("There is no buffer {name}"))
}

fn refused(record: &Record, op: OpCode) -> Result<(), Failure> {
    match record.errno {
        0 => Ok(()),
        errno => Err(Error::Refused { op, errno }.into()),
    }
}

fn milliseconds(time: Duration) -> Value {
    Value::Real(time.as_secs_f64() * 1e3)
}

fn record_fields(record: &Record) -> [(&'static str, Value); 5] {
    let cause = if record.flags.contains(RecordFlags::DEADLINE) {
        Some("deadline")
    } else if record.flags.contains(RecordFlags::HOST_ERROR) {
        Some("host")
    } else {
        None
    };
    [
        ("errno", record.errno.into()),
        ("cause", cause.into()),
        ("taken_ns", record.taken_ns.into()),
        ("done_ns", record.done_ns.into()),
        ("signalled_ns", record.signalled_ns.into()),
    ]
}
