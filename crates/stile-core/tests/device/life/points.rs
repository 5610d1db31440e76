//! Points, and the host processes that have some of them.

use stile_core::PointId;

use super::{Life, pick};
use crate::model::PointStep;
use crate::sim::{Shared, SyncFile};

/// A syncobj of a host process, its number in the model, and whether it is a binary one.
pub(super) type HostSyncobj = (Shared, usize, bool);

impl Life {
    pub(super) fn run_point(&mut self, step: PointStep) {
        match step {
            PointStep::Reach { nth } => {
                if let Some(id) = pick(&self.sim.reached_points(), nth) {
                    self.reach(&[id]);
                }
            }
            PointStep::ReachAll => self.reach(&self.sim.reached_points()),
            PointStep::ReachAgain { nth } => {
                if let Some(id) = pick(&self.model.ended_points(), nth) {
                    self.reach(&[id]);
                }
            }
            PointStep::Offer { uuid, binary } => self.offer([uuid; 16], binary),
            PointStep::Put { nth, point, busy } => self.host_point(nth, point, busy),
            PointStep::Reset { nth } => {
                if let Some((points, syncobj, _)) = self.host_syncobj(nth) {
                    points.borrow_mut().reset();
                    self.model.host_resets(syncobj);
                }
            }
        }
    }

    fn reach(&mut self, ids: &[PointId]) {
        self.model.points_reached(ids);
        let (now_ns, ids) = (self.model.now_ns(), ids.iter().copied());
        self.device.points_reached(&mut self.sim, now_ns, ids);
    }

    fn offer(&mut self, uuid: [u8; 16], binary: bool) {
        if let Some(syncobj) = self.model.offer(uuid, binary) {
            let points = Shared::default();
            self.offered.push((Shared::clone(&points), syncobj, binary));
            self.sim.graphics.offered.insert(uuid, (points, binary));
        }
    }

    /// A syncobj that host processes have.
    fn host_syncobj(&self, nth: usize) -> Option<HostSyncobj> {
        let shared = self.sim.graphics.shared.iter();
        let shared = shared.map(|(uuid, points)| {
            let (syncobj, binary) = self.model.shared(*uuid).expect("it is shared");
            (Shared::clone(points), syncobj, binary)
        });
        let all: Vec<_> = shared.chain(self.offered.iter().cloned()).collect();
        let nth = nth.checked_rem(all.len())?;
        all.get(nth).cloned()
    }

    fn host_point(&mut self, nth: usize, point: u64, busy: bool) {
        let Some((points, syncobj, binary)) = self.host_syncobj(nth) else {
            return;
        };
        let point = if binary { 0 } else { point };
        let mut file = SyncFile::new();
        if busy {
            file.insert(self.sim.kernel.new_source());
            self.model.new_source();
        }
        points.borrow_mut().put(point, file.clone());
        self.model.host_puts(syncobj, point, file);
    }
}
