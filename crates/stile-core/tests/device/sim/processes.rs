//! Host processes of the simulated host: they ask the device, and bring it buffers.

use std::rc::Rc;

use stile_core::RequestId;
use stile_wire::sync::Access;

use super::host::Sim;
use super::storage::Buffer;

impl Sim {
    /// A new request of a host process, which is the device's to answer.
    pub(crate) fn open_request(&mut self) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.asking.insert(id);
        id
    }

    /// The process does not wait any more.
    pub(crate) fn withdrawn(&mut self, id: RequestId) {
        assert!(self.asking.remove(&id), "{id:?} is answered");
    }

    pub(crate) fn asking(&self) -> Vec<RequestId> {
        self.asking.iter().copied().collect()
    }

    /// One that a host GPU uses perhaps, with something in it.
    pub(crate) fn new_buffer_with(
        &mut self,
        bytes: u64,
        work: Option<Access>,
        words: &[(u64, u64)],
    ) -> Buffer {
        let buffer = self.new_buffer(bytes);
        if let Some(access) = work {
            let source = self.kernel.new_source();
            let mut reservation = buffer.storage.reservation.borrow_mut();
            reservation.import(&self.kernel, access, &[source].into());
        }
        for (offset, value) in words {
            buffer.storage.store(*offset, *value);
        }
        buffer
    }

    /// The hostmem region shows the blob's own memory, once all jobs are done.
    pub(crate) fn shows(&self, offset: u64, resource_id: u32) -> bool {
        let (_, _, shown) = &self.mapped[&offset];
        Rc::ptr_eq(shown, &self.published[&resource_id].1)
    }
}
