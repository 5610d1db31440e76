//! Fences: work of a GPU that is under way until somebody says that it is done.

use std::num::NonZeroU32;
use std::time::Duration;

use guest_tests::gpu::{How, Times, Until, Use, now_ns};
use stile_host::{SyncFile, VgemFence};

use crate::player::{Error, Player, access};

#[derive(Debug)]
pub(crate) enum Fence {
    /// Put on its buffer by the driver, which knows it by a number.
    Driver(NonZeroU32),
    /// A sync_file of its own.
    Free(VgemFence),
    /// It will signal by itself, or has.
    Left(Option<Result<Times, String>>),
}

impl Player {
    pub(crate) fn begin(
        &self,
        name: &str,
        buffer: u32,
        r#use: Use,
        how: How,
    ) -> Result<Times, Error> {
        let buffer = self.buffer(buffer)?;
        self.add(name, || {
            Ok(match how {
                How::Driver => Fence::Driver(self.gpu.node().attach(&buffer, access(r#use))?),
                How::Import => Fence::Free(self.gpu.attach(&buffer, access(r#use))?),
            })
        })
    }

    pub(crate) fn begin_free(&self, name: &str) -> Result<Times, Error> {
        self.add(name, || Ok(Fence::Free(self.gpu.fence()?)))
    }

    fn add(&self, name: &str, make: impl FnOnce() -> Result<Fence, Error>) -> Result<Times, Error> {
        let mut props = self.scene.lock();
        if props.fences.contains_key(name) {
            return Err(format!("There is a fence {name} already").into());
        }
        let before_ns = now_ns();
        let fence = make()?;
        let after_ns = now_ns();
        props.fences.insert(name.to_owned(), fence);
        Ok(Times {
            before_ns,
            after_ns,
        })
    }

    pub(crate) fn share(&self, name: &str, buffer: u32, r#use: Use) -> Result<Times, Error> {
        let buffer = self.buffer(buffer)?;
        self.with_sync_file(name, |fence| {
            let before_ns = now_ns();
            buffer.import_sync_file(access(r#use), fence)?;
            let after_ns = now_ns();
            Ok(Times {
                before_ns,
                after_ns,
            })
        })
    }

    /// Does something with a fence that has a sync_file of its own.
    pub(crate) fn with_sync_file<T>(
        &self,
        name: &str,
        touch: impl FnOnce(&SyncFile) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let props = self.scene.lock();
        let Some(Fence::Free(fence)) = props.fences.get(name) else {
            return Err(format!("There is no imported fence {name}").into());
        };
        touch(fence.sync_file())
    }

    pub(crate) fn signal(&self, name: &str) -> Result<Times, Error> {
        let fence = self.remove(name)?;
        self.signal_fence(&fence)
    }

    fn remove(&self, name: &str) -> Result<Fence, Error> {
        let fence = self.scene.lock().fences.remove(name);
        fence.ok_or_else(|| format!("There is no fence {name}").into())
    }

    fn signal_fence(&self, fence: &Fence) -> Result<Times, Error> {
        let before_ns = now_ns();
        match fence {
            Fence::Driver(number) => self.gpu.node().signal(*number)?,
            Fence::Free(fence) => fence.signal()?,
            Fence::Left(_) => return Err("The fence signals by itself".into()),
        }
        let after_ns = now_ns();
        Ok(Times {
            before_ns,
            after_ns,
        })
    }

    pub(crate) fn signal_after(&self, name: &str, ms: u64) -> Result<(), Error> {
        let fence = self.leave(name)?;
        let (player, name) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(ms));
            player.signal_left(&name, &fence);
        });
        Ok(())
    }

    pub(crate) fn signal_at(
        &self,
        name: &str,
        waiter: &str,
        timeline: &str,
        point: u64,
    ) -> Result<(), Error> {
        let watch = self.watch(timeline, point, Until::Signalled)?;
        let fence = self.leave(name)?;
        let name = name.to_owned();
        self.fall_asleep(waiter, watch, None, move |player, woken| {
            player.signal_left(&name, &fence);
            woken
        })
    }

    pub(crate) fn await_point(
        &self,
        waiter: &str,
        (timeline, point): (&str, u64),
        until: Until,
        ms: u64,
    ) -> Result<(), Error> {
        let watch = self.watch(timeline, point, until)?;
        let timeout = Some(Duration::from_millis(ms));
        self.fall_asleep(waiter, watch, timeout, |_, woken| woken)
    }

    /// Takes a fence that will signal by itself from now on.
    fn leave(&self, name: &str) -> Result<Fence, Error> {
        let fence = self.remove(name)?;
        let mut props = self.scene.lock();
        props.fences.insert(name.to_owned(), Fence::Left(None));
        Ok(fence)
    }

    /// Signals such a fence.
    fn signal_left(&self, name: &str, fence: &Fence) {
        let times = self.signal_fence(fence).map_err(|error| error.to_string());
        let mut props = self.scene.lock();
        // After a reset nobody asks for it.
        if let Some(Fence::Left(place)) = props.fences.get_mut(name) {
            *place = Some(times);
        }
        self.scene.changed.notify_all();
    }

    pub(crate) fn signalled(&self, name: &str) -> Result<Times, Error> {
        let times = self.scene.find(|props| match props.fences.get(name) {
            Some(Fence::Left(None)) => None,
            Some(Fence::Left(Some(times))) => Some(times.clone()),
            _ => Some(Err(format!("{name} is not a fence that signals by itself"))),
        });
        Ok(times?)
    }
}
