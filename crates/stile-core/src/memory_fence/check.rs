//! What must be true of those who wait for counters, between any two calls. For tests.

use super::Waiter;
use crate::blob::Blob;
use crate::device::Device;
use crate::events::Awaited;
use crate::host::Host;
use crate::request::Awaits;
use crate::waiters::Through;

fn hold(what: bool, fault: &'static str) -> Result<(), &'static str> {
    if what { Ok(()) } else { Err(fault) }
}

impl<H: Host> Device<H> {
    /// Whoever waits for a counter waits for one of a blob that exists, through somebody who reaches
    /// it, and is waited for.
    pub(crate) fn check_waiters(&self) -> Result<(), &'static str> {
        let requests = self.requests.check()?;
        let (mut asked, mut watched): (usize, usize) = (0, 0);
        for (key, (through, waiter)) in self.waiters.check()? {
            let blobs = &mut self.blobs.values();
            let blob = blobs
                .find(|blob| blob.serial == key.blob())
                .ok_or("Somebody waits for a counter in a blob that is gone")?;
            let end = key.offset().checked_add(8);
            hold(
                end.is_some_and(|end| end <= blob.size),
                "Somebody waits for what is no counter",
            )?;
            match waiter {
                Waiter::Request(id) => {
                    asked = asked.saturating_add(1);
                    hold(*through == Through::Bridge, "A host process is a context")?;
                    let open = requests.get(id).ok_or("A waiter's request is gone")?;
                    let its = open.awaits == Awaits::Counter(*key);
                    hold(
                        its,
                        "A request has two waiters, or waits for something else",
                    )?;
                }
                Waiter::Event(watch) => {
                    watched = watched.saturating_add(1);
                    let armed = self.events.armed(*watch);
                    let (ctx_id, awaited) = armed.ok_or("A waiter's watch is over")?;
                    hold(
                        awaited == Awaited::Counter(*key),
                        "A watch has two waiters, or watches for something else",
                    )?;
                    let context = self.contexts.get(&ctx_id);
                    let context = context.ok_or("A waiter's context is gone")?;
                    hold(
                        *through == Through::Context(context.serial)
                            && blob.contexts.contains(&ctx_id),
                        "A context waits for a counter of a blob that it does not hold",
                    )?;
                }
            }
        }
        let moves = |awaits| matches!(awaits, Awaits::Move);
        let moving = requests.iter().filter(|(_, open)| moves(open.awaits));
        let all = asked.saturating_add(moving.clone().count());
        hold(all == requests.len(), "A request waits for nothing")?;
        for (id, _) in moving {
            let moving = |blob: &Blob<_, _>| blob.moving == Some(*id);
            hold(
                self.blobs.values().any(moving),
                "A request waits for a buffer that does not move",
            )?;
        }
        let counters = |awaited| matches!(awaited, Awaited::Counter(_));
        hold(
            watched == self.events.count_armed(counters),
            "A watch waits for nothing",
        )?;
        let named = self.blobs.iter().filter_map(|(id, blob)| {
            let uuid = blob.uuid?;
            Some((uuid, *id))
        });
        hold(
            self.uuids == named.collect(),
            "The UUIDs are not those of the blobs",
        )
    }
}
