//! Timelines that the host and the guest share, seen from a case.

use std::time::Duration;

use super::call::{Call, Point, Times, Until};
use super::client::{Fence, Gpu};
use super::consumer::Waiter;
use crate::control::ControlError;

impl Gpu {
    /// Takes a timeline that the guest shares from the bridge.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the guest shares none under the UUID.
    pub fn take_timeline(&self, uuid: [u8; 16]) -> Result<HostTimeline<'_>, ControlError> {
        let name = self.name("timeline");
        let timeline = name.clone();
        let _nothing: () = self.call(&Call::TakeTimeline { timeline, uuid })?;
        Ok(HostTimeline { gpu: self, name })
    }

    /// Makes a timeline, and puts it on the bridge for the guest.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn offer_timeline(&self, uuid: [u8; 16]) -> Result<HostTimeline<'_>, ControlError> {
        let name = self.name("timeline");
        let timeline = name.clone();
        let _nothing: () = self.call(&Call::OfferTimeline { timeline, uuid })?;
        Ok(HostTimeline { gpu: self, name })
    }

    /// The GPU begins to work, and its fence is nowhere yet.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn begin(&self) -> Result<Fence<'_>, ControlError> {
        let name = self.name("fence");
        let _times: Times = self.call(&Call::Begin {
            fence: name.clone(),
        })?;
        Ok(self.fence(&name))
    }
}

/// A timeline, on the host's side.
#[derive(Debug)]
pub struct HostTimeline<'a> {
    gpu: &'a Gpu,
    name: String,
}

impl<'a> HostTimeline<'a> {
    /// How far it has come.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn point(&self) -> Result<Point, ControlError> {
        let timeline = self.name.clone();
        self.gpu.call(&Call::Point { timeline })
    }

    /// Puts a fence at a point, which materialises.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn put(&self, point: u64, fence: &Fence<'_>) -> Result<(), ControlError> {
        let (timeline, fence) = (self.name.clone(), fence.name().to_owned());
        self.gpu.call(&Call::Put {
            fence,
            timeline,
            point,
        })
    }

    /// Somebody on the host sleeps until a point has come so far, or the time is over. When this
    /// returns, the wait has begun.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn sleeper(
        &self,
        point: u64,
        until: Until,
        timeout: Duration,
    ) -> Result<Waiter<'a>, ControlError> {
        let waiter = self.waiter();
        let _nothing: () = self.gpu.call(&Call::AwaitPoint {
            waiter: waiter.name.clone(),
            timeline: self.name.clone(),
            point,
            until,
            ms: milliseconds(timeout),
        })?;
        Ok(waiter)
    }

    /// A GPU of the host waits for a point, and its fence signals when the point has, or when it gives
    /// up ([`Waiter::give_up`]). When this returns, the wait has begun.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn then_signal(&self, point: u64, fence: &Fence<'_>) -> Result<Waiter<'a>, ControlError> {
        let waiter = self.waiter();
        let _nothing: () = self.gpu.call(&Call::SignalAt {
            fence: fence.name().to_owned(),
            waiter: waiter.name.clone(),
            timeline: self.name.clone(),
            point,
        })?;
        Ok(waiter)
    }

    fn waiter(&self) -> Waiter<'a> {
        Waiter {
            gpu: self.gpu,
            name: self.gpu.name("waiter"),
        }
    }
}

pub(super) fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}
