//! A host that costs nothing: what is measured above it is the core's own.

use stile_core::{
    Adopted, Answer, BlobSource, BufferId, CpuPhase, Errno, Host, JobId, Outcome, PointId,
    RequestId, Syncobjs, WaitId, errno,
};
use stile_wire::sync::{Access, Block, PointEvent};

/// Never idle, never failing: each EXPORT finds a fence.
#[derive(Default)]
pub(crate) struct Nothing {
    /// What is watched, the newest last.
    pub(crate) watched: Vec<WaitId>,
    /// The buffer that is to be made.
    pub(crate) wanted: Option<BufferId>,
    /// The counters of the blob that has some.
    pub(crate) words: Vec<u64>,
    pub(crate) replies: u64,
    pub(crate) told: u64,
}

const NEVER: Errno = errno::EOPNOTSUPP;

impl Syncobjs for Nothing {
    type Fence = ();
    type Syncobj = ();

    fn create_syncobj(&mut self, _signalled: bool) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn signal_point(&mut self, _syncobj: &(), _point: u64) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn reset_syncobj(&mut self, _syncobj: &()) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn put_fence(&mut self, _syncobj: &(), _point: u64, _fence: &()) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn get_fence(&mut self, _syncobj: &(), _point: u64) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn watch_point(
        &mut self,
        _id: PointId,
        _syncobj: &(),
        _point: u64,
        _until: PointEvent,
    ) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn unwatch_point(&mut self, _id: PointId) {}

    fn share_syncobj(&mut self, _uuid: [u8; 16], _syncobj: &()) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn unshare_syncobj(&mut self, _uuid: [u8; 16]) {}

    fn adopt_syncobj(&mut self, _uuid: [u8; 16]) -> Result<Adopted<()>, Errno> {
        Err(NEVER)
    }
}

impl Host for Nothing {
    type Buffer = ();
    type Records = ();
    type Words = ();

    fn create_buffer(&mut self, id: BufferId, _source: BlobSource<'_>) -> Result<(), Errno> {
        self.wanted = Some(id);
        Ok(())
    }

    fn export(&mut self, _buffer: &(), _access: Access) -> Result<(), Errno> {
        Ok(())
    }

    fn import(&mut self, _buffer: &(), _access: Access, _fence: &()) -> Result<(), Errno> {
        Ok(())
    }

    fn merge(&mut self, _first: &(), _second: &()) -> Result<(), Errno> {
        Ok(())
    }

    fn set_deadline(&mut self, _fence: &(), _deadline_ns: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn watch(&mut self, wait: WaitId, _fence: &()) -> Result<(), Errno> {
        self.watched.push(wait);
        Ok(())
    }

    fn access(
        &mut self,
        _wait: WaitId,
        _buffer: &(),
        _phase: CpuPhase,
        _access: Access,
    ) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn watched(&mut self, _wait: WaitId) -> Option<()> {
        Some(())
    }

    fn signalled_fence(&mut self) -> Result<(), Errno> {
        Ok(())
    }

    fn outcome(&mut self, _wait: WaitId) -> Outcome {
        Outcome::default()
    }

    fn unwatch(&mut self, _wait: WaitId) {}

    fn records(&mut self, _buffer: &(), _offset: u64, _size: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn write_header(&mut self, _records: &mut (), _header: &Block) {}

    fn write_record(&mut self, _records: &mut (), _offset: u64, _record: &Block) {}

    fn write_overflow(&mut self, _records: &mut (), _overflow: u64) {}

    fn can_replace(&mut self, _old: &(), _new: &()) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn words(&mut self, _buffer: &()) -> Result<(), Errno> {
        Ok(())
    }

    fn raise(&mut self, _words: &(), offset: u64, value: u64) -> Result<u64, Errno> {
        let word = &mut self.words[offset as usize / 8];
        *word = value.max(*word);
        Ok(*word)
    }

    fn map(&mut self, _job: JobId, _buffer: &(), _offset: u64, _size: u64) -> Result<(), Errno> {
        Err(NEVER)
    }

    fn unmap(&mut self, _job: JobId, _offset: u64, _size: u64) {}

    fn new_uuid(&mut self) -> [u8; 16] {
        [1; 16]
    }

    fn share(&mut self, _job: JobId, _uuid: [u8; 16], _buffer: &()) {}

    fn unshare(&mut self, _uuid: [u8; 16]) {}

    fn publish(&mut self, _resource_id: u32, _uuid: Option<[u8; 16]>, _buffer: &()) {}

    fn unpublish(&mut self, _resource_id: u32) {}

    fn tell(&mut self, _request: RequestId, answer: Result<u64, Errno>) {
        answer.expect("a counter");
        self.told += 1;
    }

    fn reply(&mut self, answer: &Answer) {
        assert_eq!(answer.response, stile_wire::gpu::Response::Ok);
        self.replies += 1;
    }
}
