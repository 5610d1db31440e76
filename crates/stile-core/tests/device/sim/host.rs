//! The simulated host.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stile_core::{
    Answer, BlobSource, BufferId, Chain, CpuPhase, Errno, Host, JobId, Outcome, RequestId, WaitId,
    errno,
};
use stile_wire::sync::{Access, Block};

use super::kernel::{Kernel, Source, SyncFile};
use super::storage::{Alive, Buffer, Fence, Records, Storage, Words};
use super::syncobjs::Graphics;

/// Which of the next calls that can fail does, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostFails {
    /// Calls that go well before.
    pub(crate) after: u32,
    pub(crate) error: Option<Errno>,
}

impl HostFails {
    /// The next call that can fail fails.
    pub(crate) fn now(error: Errno) -> Self {
        Self {
            after: 0,
            error: Some(error),
        }
    }

    pub(crate) fn call(&mut self) -> Result<(), Errno> {
        match self.after.checked_sub(1) {
            Some(after) => {
                self.after = after;
                Ok(())
            }
            None => self.error.take().map_or(Ok(()), Err),
        }
    }
}

/// What the front end was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Map { offset: u64, size: u64 },
    Unmap { offset: u64, size: u64 },
    Share { uuid: [u8; 16] },
}

/// An access of the CPU that the host was asked for.
#[derive(Clone, Debug)]
pub(crate) struct CpuAccess {
    pub(crate) wait: WaitId,
    pub(crate) storage: Rc<Storage>,
    pub(crate) phase: CpuPhase,
    pub(crate) access: Access,
    pub(crate) done: bool,
}

/// The simulated host. What breaks the contract of `Host` panics.
#[derive(Debug, Default)]
pub(crate) struct Sim {
    pub(crate) kernel: Kernel,
    pub(crate) graphics: Graphics,
    watches: BTreeMap<u64, SyncFile>,
    waits_ever: BTreeSet<u64>,
    /// The watches since this was last taken, in their order.
    pub(crate) new_watches: Vec<(WaitId, SyncFile)>,
    /// The buffers that the device has asked for and not been given, in their order.
    pub(crate) unmade: Vec<BufferId>,
    asked_ever: Vec<(BufferId, u64)>,
    /// All jobs ever, in their order.
    pub(crate) jobs: Vec<(JobId, Task)>,
    /// The hostmem region once all jobs are done: size, job and memory by offset.
    pub(super) mapped: BTreeMap<u64, (u64, JobId, Rc<Storage>)>,
    pub(crate) published: BTreeMap<u32, (Option<[u8; 16]>, Rc<Storage>)>,
    shared: BTreeSet<[u8; 16]>,
    uuids: u8,
    chains: u32,
    pub(crate) outstanding: BTreeSet<Chain>,
    /// The answers since this was last taken, in their order, each with the number of records that
    /// had been written before it.
    pub(crate) answers: Vec<(Answer, usize)>,
    records: usize,
    /// What the records ever said: whether of an event, the code, the errno.
    pub(crate) outcomes: BTreeSet<(bool, u8, u32)>,
    /// The deadlines that the host's drivers were told since this was last taken.
    pub(crate) deadlines: Vec<(SyncFile, u64)>,
    /// All accesses of the CPU ever, in their order.
    pub(crate) accesses: Vec<CpuAccess>,
    /// How many of them may be under way.
    most_accesses: usize,
    pub(crate) fails: HostFails,
    buffers: Rc<Cell<usize>>,
    fences: Rc<Cell<usize>>,
    record_memories: Rc<Cell<usize>>,
    counter_memories: Rc<Cell<usize>>,
    pub(super) last_request: u64,
    pub(super) asking: BTreeSet<RequestId>,
    /// What host processes were told since this was last taken, in its order.
    pub(crate) told: Vec<(RequestId, Result<u64, Errno>)>,
}

impl Sim {
    /// A host that does so many accesses of the CPU at once.
    pub(crate) fn with_accesses(most: u32) -> Self {
        Self {
            most_accesses: most as usize,
            ..Self::default()
        }
    }

    /// A new chain, whose command is the device's to answer.
    pub(crate) fn open_chain(&mut self) -> Chain {
        self.chains += 1;
        let chain = Chain(self.chains);
        self.outstanding.insert(chain);
        chain
    }

    /// The queues are gone, and with them the chains.
    pub(crate) fn forget_chains(&mut self) {
        self.outstanding.clear();
    }

    /// A fence of the host GPU on the buffer of a resource.
    pub(crate) fn host_work(&mut self, resource_id: u32, access: Access) -> Source {
        let source = self.kernel.new_source();
        let (_, storage) = &self.published[&resource_id];
        let file = SyncFile::from([source]);
        storage
            .reservation
            .borrow_mut()
            .import(&self.kernel, access, &file);
        source
    }

    pub(crate) fn storage(&self, resource_id: u32) -> Rc<Storage> {
        Rc::clone(&self.published[&resource_id].1)
    }

    /// The watches that the device must be told of.
    pub(crate) fn signalled_watches(&self) -> Vec<WaitId> {
        let watches = self.watches.iter();
        watches
            .filter(|(_, file)| self.kernel.is_signalled(file))
            .map(|(bits, _)| WaitId::from_bits(*bits).expect("it was a WaitId"))
            .collect()
    }

    pub(crate) fn watches(&self) -> usize {
        self.watches.len()
    }

    /// Makes the buffer number `nth` of those that are not made yet.
    pub(crate) fn make_buffer(&mut self, nth: usize) -> (BufferId, Buffer) {
        let id = self.unmade.remove(nth);
        let mut asked = self.asked_ever.iter();
        let (_, size) = asked.find(|(asked, _)| *asked == id).expect("it was asked");
        (id, self.new_buffer(*size))
    }

    /// A buffer of whole pages.
    pub(crate) fn new_buffer(&self, bytes: u64) -> Buffer {
        let storage = Storage {
            size: bytes.next_multiple_of(4096),
            ..Storage::default()
        };
        Buffer {
            storage: Rc::new(storage),
            _alive: Alive::new(&self.buffers),
        }
    }

    /// The front end could not do a job. `mapped` is as if it had never been asked.
    pub(crate) fn job_failed(&mut self, job: JobId) {
        self.mapped.retain(|_, (_, by, _)| *by != job);
    }

    pub(crate) fn mapped(&self) -> BTreeMap<u64, u64> {
        let mapped = self.mapped.iter();
        mapped
            .map(|(offset, (size, ..))| (*offset, *size))
            .collect()
    }

    /// Nothing that the device held is left.
    pub(crate) fn assert_empty(&self) {
        let live = (
            self.buffers.get(),
            self.fences.get(),
            self.record_memories.get(),
            self.counter_memories.get(),
        );
        self.graphics.assert_empty();
        assert_eq!(self.unmade, [], "buffers that are not made");
        let what = "buffers, sync_files, memories of records and of counters";
        assert_eq!(live, (0, 0, 0, 0), "{what}");
        assert!(self.asking.is_empty(), "requests: {:?}", self.asking);
        assert!(self.watches.is_empty(), "watches: {:?}", self.watches);
        assert!(self.mapped.is_empty(), "mappings: {:?}", self.mapped);
        assert!(
            self.published.is_empty(),
            "resources: {:?}",
            self.published.keys()
        );
        assert!(self.shared.is_empty(), "UUIDs: {:?}", self.shared);
        assert!(
            self.outstanding.is_empty(),
            "commands: {:?}",
            self.outstanding
        );
    }

    /// File descriptors that the device has made the host hold.
    pub(crate) fn fds(&self) -> usize {
        let held = self.graphics.held();
        let buffers = self.buffers.get() + self.unmade.len();
        buffers + self.fences.get() + self.watches.len() + held
    }

    pub(super) fn new_fence(&self, file: SyncFile) -> Fence {
        Fence {
            file,
            _alive: Alive::new(&self.fences),
        }
    }

    pub(super) fn may_fail(&mut self) -> Result<(), Errno> {
        self.fails.call()
    }

    fn new_wait(&mut self, wait: WaitId) {
        assert_eq!(WaitId::from_bits(wait.to_bits()), Some(wait));
        let new = self.waits_ever.insert(wait.to_bits());
        assert!(new, "{wait:?} has been used before");
    }

    fn new_job(&mut self, job: JobId, task: Task) {
        let old = self.jobs.iter().any(|(other, _)| *other == job);
        assert!(!old, "{job:?} has been used before");
        self.jobs.push((job, task));
    }
}

impl Host for Sim {
    type Buffer = Buffer;
    type Records = Records;
    type Words = Words;

    fn create_buffer(&mut self, id: BufferId, source: BlobSource<'_>) -> Result<(), Errno> {
        assert!(
            self.asked_ever.iter().all(|(other, _)| *other != id),
            "{id:?} has been used before"
        );
        let size = match source {
            BlobSource::Host { size } => size,
            BlobSource::Guest { size, entries } => {
                let backed: u64 = entries
                    .iter()
                    .map(|entry| u64::from(entry.length.get()))
                    .sum();
                assert!(size <= backed, "a blob has no pages for its end");
                size
            }
        };
        assert!(size > 0, "a blob is empty");
        self.asked_ever.push((id, size));
        self.may_fail()?;
        self.unmade.push(id);
        Ok(())
    }

    fn export(&mut self, buffer: &Buffer, access: Access) -> Result<Fence, Errno> {
        assert!(!access.is_empty());
        self.may_fail()?;
        let file = buffer
            .storage
            .reservation
            .borrow()
            .export(&self.kernel, access);
        Ok(self.new_fence(file))
    }

    fn import(&mut self, buffer: &Buffer, access: Access, fence: &Fence) -> Result<(), Errno> {
        assert!(!access.is_empty());
        self.may_fail()?;
        let mut reservation = buffer.storage.reservation.borrow_mut();
        reservation.import(&self.kernel, access, &fence.file);
        Ok(())
    }

    fn merge(&mut self, first: &Fence, second: &Fence) -> Result<Fence, Errno> {
        self.may_fail()?;
        let both = first.file.union(&second.file).copied().collect();
        Ok(self.new_fence(both))
    }

    fn set_deadline(&mut self, fence: &Fence, deadline_ns: u64) -> Result<(), Errno> {
        self.may_fail()?;
        self.deadlines.push((fence.file.clone(), deadline_ns));
        Ok(())
    }

    fn watch(&mut self, wait: WaitId, fence: &Fence) -> Result<(), Errno> {
        self.new_wait(wait);
        self.may_fail()?;
        self.watches.insert(wait.to_bits(), fence.file.clone());
        self.new_watches.push((wait, fence.file.clone()));
        Ok(())
    }

    fn access(
        &mut self,
        wait: WaitId,
        buffer: &Buffer,
        phase: CpuPhase,
        access: Access,
    ) -> Result<(), Errno> {
        assert!(!access.is_empty());
        self.new_wait(wait);
        self.may_fail()?;
        let under_way = self.accesses.iter().filter(|access| !access.done);
        if under_way.count() >= self.most_accesses {
            return Err(errno::EBUSY);
        }
        self.accesses.push(CpuAccess {
            wait,
            storage: Rc::clone(&buffer.storage),
            phase,
            access,
            done: false,
        });
        Ok(())
    }

    fn watched(&mut self, wait: WaitId) -> Option<Fence> {
        let file = self.watches.get(&wait.to_bits())?.clone();
        Some(self.new_fence(file))
    }

    fn signalled_fence(&mut self) -> Result<Fence, Errno> {
        self.may_fail()?;
        Ok(self.new_fence(SyncFile::new()))
    }

    fn outcome(&mut self, wait: WaitId) -> Outcome {
        let file = self.watches.get(&wait.to_bits());
        self.kernel.outcome(file.expect("a live watch"))
    }

    fn unwatch(&mut self, wait: WaitId) {
        let watch = self.watches.remove(&wait.to_bits());
        assert!(watch.is_some(), "{wait:?} is not watched");
    }

    fn records(&mut self, buffer: &Buffer, offset: u64, size: u64) -> Result<Records, Errno> {
        self.may_fail()?;
        let (offset, size) = (offset as usize, size as usize);
        let mut bytes = buffer.storage.bytes.borrow_mut();
        let end = bytes.len().max(offset + size);
        bytes.resize(end, 0);
        let storage = Rc::clone(&buffer.storage);
        Ok(Records {
            storage,
            offset,
            size,
            _alive: Alive::new(&self.record_memories),
        })
    }

    fn write_header(&mut self, records: &mut Records, header: &Block) {
        records.write(0, &vec![0; records.size]);
        records.write(0, header);
    }

    fn write_record(&mut self, records: &mut Records, offset: u64, record: &Block) {
        assert!(offset >= 64, "a record lies behind the header");
        assert_ne!(record[..8], [0; 8]);
        records.write(offset as usize, record);
        records.write(16, &record[..8]);
        self.records += 1;
        self.outcomes.insert(records.outcome(record));
    }

    fn write_overflow(&mut self, records: &mut Records, overflow: u64) {
        records.write(24, &overflow.to_le_bytes());
    }

    fn can_replace(&mut self, old: &Buffer, new: &Buffer) -> Result<(), Errno> {
        if old.storage.size == new.storage.size {
            Ok(())
        } else {
            Err(errno::EINVAL)
        }
    }

    fn words(&mut self, buffer: &Buffer) -> Result<Words, Errno> {
        self.may_fail()?;
        Ok(Words {
            storage: Rc::clone(&buffer.storage),
            _alive: Alive::new(&self.counter_memories),
        })
    }

    fn raise(&mut self, words: &Words, offset: u64, value: u64) -> Result<u64, Errno> {
        self.may_fail()?;
        assert!(offset.is_multiple_of(8), "a counter at {offset}");
        let found = words.storage.load(offset);
        if found < value {
            words.storage.store(offset, value);
        }
        Ok(found.max(value))
    }

    fn map(&mut self, job: JobId, buffer: &Buffer, offset: u64, size: u64) -> Result<(), Errno> {
        self.may_fail()?;
        assert!(
            size > 0 && offset.is_multiple_of(4096) && size.is_multiple_of(4096),
            "{offset:#x}+{size:#x}"
        );
        for (start, (taken, ..)) in &self.mapped {
            let apart = offset + size <= *start || start + taken <= offset;
            assert!(
                apart,
                "{offset:#x}+{size:#x} overlaps {start:#x}+{taken:#x}"
            );
        }
        let shown = Rc::clone(&buffer.storage);
        self.mapped.insert(offset, (size, job, shown));
        self.new_job(job, Task::Map { offset, size });
        Ok(())
    }

    fn unmap(&mut self, job: JobId, offset: u64, size: u64) {
        let mapped = self.mapped.remove(&offset);
        assert_eq!(
            mapped.map(|(size, ..)| size),
            Some(size),
            "bytes mapped at {offset:#x}"
        );
        self.new_job(job, Task::Unmap { offset, size });
    }

    fn new_uuid(&mut self) -> [u8; 16] {
        self.uuids += 1;
        [self.uuids; 16]
    }

    fn share(&mut self, job: JobId, uuid: [u8; 16], _: &Buffer) {
        assert!(self.shared.insert(uuid), "a UUID is shared twice");
        self.new_job(job, Task::Share { uuid });
    }

    fn unshare(&mut self, uuid: [u8; 16]) {
        assert!(
            self.shared.remove(&uuid),
            "a UUID is unshared that is not shared"
        );
    }

    fn publish(&mut self, resource_id: u32, uuid: Option<[u8; 16]>, buffer: &Buffer) {
        let storage = Rc::clone(&buffer.storage);
        let before = self.published.insert(resource_id, (uuid, storage));
        match before {
            None => assert!(uuid.is_none(), "a new resource has no UUID"),
            Some((old, storage)) => {
                let named = old.is_none() && uuid.is_some();
                let moved = !Rc::ptr_eq(&storage, &buffer.storage);
                assert!(
                    if moved { uuid == old } else { named },
                    "a resource is published twice"
                );
            }
        }
    }

    fn unpublish(&mut self, resource_id: u32) {
        let resource = self.published.remove(&resource_id);
        assert!(
            resource.is_some(),
            "resource {resource_id} is not published"
        );
    }

    fn tell(&mut self, request: RequestId, answer: Result<u64, Errno>) {
        let open = self.asking.remove(&request);
        assert!(open, "{answer:?} to {request:?}, which nobody asks");
        self.told.push((request, answer));
    }

    fn reply(&mut self, answer: &Answer) {
        let open = self.outstanding.remove(&answer.chain);
        assert!(open, "{answer:?} for a chain that nobody waits for");
        self.answers.push((answer.clone(), self.records));
    }
}
