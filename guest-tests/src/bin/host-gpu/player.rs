//! Does what is asked.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use guest_tests::gpu::{Call, How, Taken, Times, Use, now_ns, pattern};
use serde::Serialize;
use serde_json::Value;
use stile_gpu::bridge::{Client, Resource};
use stile_host::{Access, DmaBuf, Mapping, VgemFence, VgemGpu};

use crate::descriptors;

/// Why something could not be done, in words for the case that asked.
type Error = Box<dyn std::error::Error>;

/// The GPU, its buffers and fences.
#[derive(Debug)]
pub(crate) struct Player {
    bridge: PathBuf,
    gpu: VgemGpu,
    scene: Arc<Scene>,
}

/// What all connections see, and what is told when it changes.
#[derive(Debug, Default)]
struct Scene {
    props: Mutex<Props>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Props {
    /// The daemon's process.
    daemon: i32,
    client: Option<Client>,
    last_buffer: u32,
    buffers: BTreeMap<u32, Arc<DmaBuf>>,
    fences: BTreeMap<String, Fence>,
    marks: BTreeMap<String, u32>,
}

#[derive(Debug)]
enum Fence {
    /// Put on its buffer by the driver, which knows it by a number.
    Driver(NonZeroU32),
    /// A sync_file of its own.
    Free(VgemFence),
    /// It will signal by itself, or has.
    Left(Option<Result<Times, String>>),
}

impl Scene {
    fn lock(&self) -> MutexGuard<'_, Props> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something.
    fn find<T>(&self, mut look: impl FnMut(&mut Props) -> Option<T>) -> T {
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
            Call::Take { resource } => answer(self.take(|client| client.by_id(*resource))?),
            Call::TakeUuid { uuid } => answer(self.take(|client| client.by_uuid(*uuid))?),
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
            Call::Signal { fence } => answer(self.signal(fence)?),
            Call::SignalAfter { fence, ms } => answer(self.signal_after(fence, *ms)?),
            Call::Signalled { fence } => answer(self.signalled(fence)?),
            Call::Idle { buffer, r#use } => answer(self.buffer(*buffer)?.poll(access(*r#use))?),
            Call::Exported { buffer, r#use } => {
                let fence = self.buffer(*buffer)?.export_sync_file(access(*r#use))?;
                answer(fence.signalled()?)
            }
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
        props.marks.clear();
        for (_, fence) in std::mem::take(&mut props.fences) {
            if let Fence::Driver(number) = fence {
                // It may have signalled before; all that counts is that it has now.
                let _ = self.gpu.node().signal(number);
            }
        }
        self.scene.changed.notify_all();
    }

    fn take(
        &self,
        ask: impl FnOnce(&Client) -> Result<Resource, stile_gpu::bridge::ClientError>,
    ) -> Result<Taken, Error> {
        let mut props = self.scene.lock();
        let client = match props.client.take() {
            Some(client) => client,
            None => Client::connect(&self.bridge)?,
        };
        let resource = ask(&client);
        props.client = Some(client);
        let resource = resource?;
        let number = props.last_buffer.wrapping_add(1);
        props.last_buffer = number;
        let taken = Taken {
            buffer: number,
            resource: resource.resource_id,
            size: resource.buffer.size(),
            uuid: resource.uuid,
            inode: rustix::fs::fstat(&resource.buffer)?.st_ino,
        };
        props.buffers.insert(number, Arc::new(resource.buffer));
        Ok(taken)
    }

    fn buffer(&self, number: u32) -> Result<Arc<DmaBuf>, Error> {
        let props = self.scene.lock();
        let buffer = props.buffers.get(&number).cloned();
        buffer.ok_or_else(|| format!("There is no buffer {number}").into())
    }

    fn begin(&self, name: &str, buffer: u32, r#use: Use, how: How) -> Result<Times, Error> {
        let buffer = self.buffer(buffer)?;
        let mut props = self.scene.lock();
        if props.fences.contains_key(name) {
            return Err(format!("There is a fence {name} already").into());
        }
        let before_ns = now_ns();
        let fence = match how {
            How::Driver => Fence::Driver(self.gpu.node().attach(&buffer, access(r#use))?),
            How::Import => Fence::Free(self.gpu.attach(&buffer, access(r#use))?),
        };
        let after_ns = now_ns();
        props.fences.insert(name.to_owned(), fence);
        Ok(Times {
            before_ns,
            after_ns,
        })
    }

    fn share(&self, name: &str, buffer: u32, r#use: Use) -> Result<Times, Error> {
        let buffer = self.buffer(buffer)?;
        let props = self.scene.lock();
        let Some(Fence::Free(fence)) = props.fences.get(name) else {
            return Err(format!("There is no imported fence {name}").into());
        };
        let before_ns = now_ns();
        buffer.import_sync_file(access(r#use), fence.sync_file())?;
        let after_ns = now_ns();
        Ok(Times {
            before_ns,
            after_ns,
        })
    }

    fn signal(&self, name: &str) -> Result<Times, Error> {
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

    fn signal_after(&self, name: &str, ms: u64) -> Result<(), Error> {
        let fence = self.remove(name)?;
        let mut props = self.scene.lock();
        props.fences.insert(name.to_owned(), Fence::Left(None));
        let (scene, gpu) = (Arc::clone(&self.scene), self.gpu.clone());
        let (bridge, name) = (self.bridge.clone(), name.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(ms));
            let player = Self { bridge, gpu, scene };
            let times = player
                .signal_fence(&fence)
                .map_err(|error| error.to_string());
            let mut props = player.scene.lock();
            // After a reset nobody asks for it.
            if let Some(Fence::Left(place)) = props.fences.get_mut(&name) {
                *place = Some(times);
            }
            player.scene.changed.notify_all();
        });
        Ok(())
    }

    fn signalled(&self, name: &str) -> Result<Times, Error> {
        let times = self.scene.find(|props| match props.fences.get(name) {
            Some(Fence::Left(None)) => None,
            Some(Fence::Left(Some(times))) => Some(times.clone()),
            _ => Some(Err(format!("{name} is not a fence that signals by itself"))),
        });
        Ok(times?)
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

fn access(r#use: Use) -> Access {
    match r#use {
        Use::Read => Access::READ,
        Use::Write => Access::WRITE,
    }
}
