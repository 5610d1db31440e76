//! Does what is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guest_tests::gpu::{Call, Taken, Use, now_ns, pattern};
use serde::Serialize;
use serde_json::Value;
use stile_gpu::bridge::{Client, Resource};
use stile_host::{Access, DmaBuf, Mapping, VgemGpu};

use crate::consumer::Consumers;
use crate::descriptors;
use crate::fences::Fence;
use crate::timelines::Timelines;

/// Why something could not be done, in words for the case that asked.
pub(crate) type Error = Box<dyn std::error::Error>;

/// The GPU, its buffers and fences. Copies are the same.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    bridge: PathBuf,
    pub(crate) gpu: VgemGpu,
    pub(crate) scene: Arc<Scene>,
}

/// What all connections see, and what is told when it changes.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    props: Mutex<Props>,
    pub(crate) changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Props {
    /// The daemon's process.
    daemon: i32,
    client: Option<Client>,
    last_buffer: u32,
    buffers: BTreeMap<u32, Arc<DmaBuf>>,
    /// Their resource ids.
    pub(crate) resources: BTreeMap<u32, u32>,
    pub(crate) fences: BTreeMap<String, Fence>,
    marks: BTreeMap<String, u32>,
    pub(crate) consumers: Consumers,
    pub(crate) timelines: Timelines,
}

impl Scene {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Props> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something.
    pub(crate) fn find<T>(&self, mut look: impl FnMut(&mut Props) -> Option<T>) -> T {
        let mut props = self.lock();
        loop {
            if let Some(found) = look(&mut props) {
                return found;
            }
            props = self
                .changed
                .wait(props)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Player {
    /// A player with a GPU of its own.
    pub(crate) fn new(bridge: &Path) -> Result<Self, Error> {
        let player = Self {
            bridge: bridge.to_owned(),
            gpu: VgemGpu::find()?,
            scene: Arc::default(),
        };
        player.scene.lock().daemon = descriptors::listener(bridge)?;
        Ok(player)
    }

    /// Does one thing and gives its answer.
    pub(crate) fn play(&self, call: &Call) -> Result<Value, Error> {
        match call {
            Call::Reset => {
                self.reset();
                answer(())
            }
            Call::Take { resource } => {
                answer(self.take(self.with_client(|client| client.by_id(*resource))?)?)
            }
            Call::TakeUuid { uuid } => {
                answer(self.take(self.with_client(|client| client.by_uuid(*uuid))?)?)
            }
            Call::Make { size, memory } => answer(self.make(*size, memory)?),
            Call::Replace { buffer, by } => answer(self.replace(*buffer, *by)?),
            Call::Reconnect => {
                let mut props = self.scene.lock();
                props.daemon = descriptors::listener(&self.bridge)?;
                let client = Client::connect(&self.bridge)?;
                // When this is answered, the daemon has seen who else has come and gone.
                let _nothing = client.by_id(0);
                props.client = Some(client);
                answer(())
            }
            Call::Fence {
                fence,
                buffer,
                r#use,
                how,
            } => answer(self.begin(fence, *buffer, *r#use, *how)?),
            Call::Share {
                fence,
                buffer,
                r#use,
            } => answer(self.share(fence, *buffer, *r#use)?),
            Call::Begin { fence } => answer(self.begin_free(fence)?),
            Call::Signal { fence } => answer(self.signal(fence)?),
            Call::SignalAfter { fence, ms } => answer(self.signal_after(fence, *ms)?),
            Call::Signalled { fence } => answer(self.signalled(fence)?),
            Call::SignalAt {
                fence,
                waiter,
                timeline,
                point,
            } => answer(self.signal_at(fence, waiter, timeline, *point)?),
            Call::TakeTimeline { timeline, uuid } => answer(self.take_timeline(timeline, *uuid)?),
            Call::OfferTimeline { timeline, uuid } => answer(self.offer_timeline(timeline, *uuid)?),
            Call::Point { timeline } => answer(self.point(timeline)?),
            Call::Put {
                fence,
                timeline,
                point,
            } => answer(self.put(fence, timeline, *point)?),
            Call::AwaitPoint {
                waiter,
                timeline,
                point,
                until,
                ms,
            } => answer(self.await_point(waiter, (timeline, *point), *until, *ms)?),
            Call::Store {
                buffer,
                offset,
                value,
            } => answer(self.store(*buffer, *offset, *value)?),
            Call::Load { buffer, offset } => answer(self.load(*buffer, *offset)?),
            Call::SignalMemory {
                buffer,
                offset,
                value,
            } => answer(self.signal_memory(*buffer, *offset, *value)?),
            Call::AwaitMemory {
                waiter,
                buffer,
                offset,
                value,
                ms,
            } => {
                let timeout = Duration::from_millis(*ms);
                answer(self.await_memory(waiter, *buffer, (*offset, *value), timeout)?)
            }
            Call::TakesDeadlines => answer(self.gpu.fence()?.sync_file().takes_deadlines()?),
            Call::Threads => answer(descriptors::threads(self.scene.lock().daemon)?),
            Call::Idle { buffer, r#use } => answer(self.buffer(*buffer)?.poll(access(*r#use))?),
            Call::Exported { buffer, r#use } => {
                let fence = self.buffer(*buffer)?.export_sync_file(access(*r#use))?;
                answer(fence.signalled()?)
            }
            Call::Await {
                waiter,
                buffer,
                r#use,
            } => answer(self.await_buffer(waiter, *buffer, access(*r#use))?),
            Call::GiveUp { waiter } => answer(self.give_up(waiter)?),
            Call::Woken { waiter } => answer(self.woken(waiter)?),
            Call::Keep {
                export,
                buffer,
                r#use,
            } => answer(self.keep(export, *buffer, access(*r#use))?),
            Call::Look { export } => answer(self.look(export)?),
            Call::Fill { buffer, seed } => answer(self.fill(*buffer, *seed)?),
            Call::Check { buffer, seed } => answer(self.check(*buffer, *seed)?),
            Call::Descriptors => {
                let daemon = self.scene.lock().daemon;
                answer(descriptors::of_process(daemon)?)
            }
            Call::Clock => answer(now_ns()),
            Call::Mark { mark } => {
                let mut props = self.scene.lock();
                let times = props.marks.entry(mark.clone()).or_default();
                *times = times.saturating_add(1);
                self.scene.changed.notify_all();
                answer(())
            }
            Call::AwaitMark { mark, times } => {
                self.scene.find(|props| {
                    let reached = props.marks.get(mark).is_some_and(|count| count >= times);
                    reached.then_some(())
                });
                answer(())
            }
        }
    }

    fn reset(&self) {
        let mut props = self.scene.lock();
        props.buffers.clear();
        props.resources.clear();
        props.marks.clear();
        props.consumers.clear();
        props.timelines.clear();
        for (_, fence) in std::mem::take(&mut props.fences) {
            if let Fence::Driver(number) = fence {
                // It may have signalled before; all that counts is that it has now.
                let _ = self.gpu.node().signal(number);
            }
        }
        self.scene.changed.notify_all();
    }

    /// A connection to the bridge of one's own.
    pub(crate) fn new_client(&self) -> Result<Client, Error> {
        Ok(Client::connect(&self.bridge)?)
    }

    /// Asks the bridge.
    pub(crate) fn with_client<T>(
        &self,
        ask: impl FnOnce(&Client) -> Result<T, stile_gpu::bridge::ClientError>,
    ) -> Result<T, Error> {
        let mut props = self.scene.lock();
        let client = match props.client.take() {
            Some(client) => client,
            None => self.new_client()?,
        };
        let answer = ask(&client);
        props.client = Some(client);
        Ok(answer?)
    }

    fn take(&self, resource: Resource) -> Result<Taken, Error> {
        self.hold(resource.buffer, Some((resource.resource_id, resource.uuid)))
    }

    /// Gives a buffer a number; where it is a resource's, that is its id and UUID.
    pub(crate) fn hold(
        &self,
        buffer: DmaBuf,
        resource: Option<(u32, Option<[u8; 16]>)>,
    ) -> Result<Taken, Error> {
        let mut props = self.scene.lock();
        let number = props.last_buffer.wrapping_add(1);
        props.last_buffer = number;
        let taken = Taken {
            buffer: number,
            resource: resource.map_or(0, |(id, _)| id),
            size: buffer.size(),
            uuid: resource.and_then(|(_, uuid)| uuid),
            inode: rustix::fs::fstat(&buffer)?.st_ino,
        };
        if resource.is_some() {
            props.resources.insert(number, taken.resource);
        }
        props.buffers.insert(number, Arc::new(buffer));
        Ok(taken)
    }

    pub(crate) fn buffer(&self, number: u32) -> Result<Arc<DmaBuf>, Error> {
        let props = self.scene.lock();
        let buffer = props.buffers.get(&number).cloned();
        buffer.ok_or_else(|| format!("There is no buffer {number}").into())
    }

    fn fill(&self, buffer: u32, seed: u64) -> Result<(), Error> {
        self.access(buffer, Access::WRITE, |memory| {
            Ok(memory.write(0, &pattern::bytes(seed, memory.len()))?)
        })
    }

    fn check(&self, buffer: u32, seed: u64) -> Result<Option<String>, Error> {
        self.access(buffer, Access::READ, |memory| {
            let mut found = vec![0; memory.len()];
            memory.read(0, &mut found)?;
            Ok(pattern::difference(seed, &found))
        })
    }

    /// Touches the buffer as a program should: the kernel is told of the begin and the end.
    fn access<T>(
        &self,
        buffer: u32,
        access: Access,
        touch: impl FnOnce(&Mapping) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let buffer = self.buffer(buffer)?;
        let memory = buffer.map(0..buffer.size())?;
        buffer.sync_begin(access)?;
        let touched = touch(&memory);
        buffer.sync_end(access)?;
        touched
    }
}

fn answer(value: impl Serialize) -> Result<Value, Error> {
    Ok(serde_json::to_value(value)?)
}

pub(crate) fn access(r#use: Use) -> Access {
    match r#use {
        Use::Read => Access::READ,
        Use::Write => Access::WRITE,
    }
}
