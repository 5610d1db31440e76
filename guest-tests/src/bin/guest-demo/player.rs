//! Playing a scene: the host begins its jobs, the guest exports their fences and waits for all.

use std::error::Error;
use std::sync::mpsc::channel;
use std::time::Duration;

use guest_tests::gpu::{Call, Clock, Fence, Gpu, HostBuffer, How, Times, Use, now_ns};
use stile_guest::{Access, Blob, BlobOptions, FenceOptions, Pending, Session};

use crate::tell::{Line, Teller};

/// A fence that has not come by then is lost: longer than any deadline.
const LOST: Duration = Duration::from_secs(15);

/// What the host is to do with a buffer, and what the guest is to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    name: String,
    ring: u8,
    work: Work,
    host: Use,
    guest: Access,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    None,
    /// Milliseconds.
    For(u64),
    Forever,
}

impl Job {
    pub(crate) fn work(name: &str, ring: u8, ms: u64) -> Self {
        let (host, guest) = (Use::Write, Access::READ);
        Self {
            name: name.to_owned(),
            ring,
            work: Work::For(ms),
            host,
            guest,
        }
    }

    pub(crate) fn idle(name: &str, ring: u8) -> Self {
        Self {
            work: Work::None,
            ..Self::work(name, ring, 0)
        }
    }

    pub(crate) fn stuck(name: &str, ring: u8) -> Self {
        Self {
            work: Work::Forever,
            ..Self::work(name, ring, 0)
        }
    }

    pub(crate) fn read_by_host(self) -> Self {
        Self {
            host: Use::Read,
            ..self
        }
    }

    pub(crate) fn guest(self, guest: Access) -> Self {
        Self { guest, ..self }
    }
}

/// A job that can begin.
struct Ready<'a> {
    job: &'a Job,
    blob: Blob,
    buffer: HostBuffer<'a>,
}

/// A job that has begun.
struct Running<'a> {
    job: &'a Job,
    made_ns: Option<u64>,
    tag: u32,
    /// When the guest's fence was seen signalled; `None` until then, or if it is lost.
    seen_ns: Option<u64>,
    /// When the guest's kernel signalled it.
    fence_ns: Option<u64>,
    over: bool,
    told: bool,
    fence: Option<Fence<'a>>,
    /// It lives as long as the job does.
    _blob: Blob,
}

/// The guest's side of all scenes.
pub(crate) struct Player<'a> {
    session: Session,
    gpu: &'a Gpu,
    clock: Clock,
    /// The title that was told last.
    title: String,
}

impl<'a> Player<'a> {
    pub(crate) fn new(session: Session, gpu: &'a Gpu, clock: Clock) -> Self {
        Self {
            session,
            gpu,
            clock,
            title: String::new(),
        }
    }

    /// Plays a scene and tells it. The title is told once for scenes that follow each other.
    pub(crate) fn play(
        &mut self,
        teller: &mut Teller,
        scene: &str,
        jobs: &[Job],
    ) -> Result<(), Box<dyn Error>> {
        if self.title != scene {
            scene.clone_into(&mut self.title);
            teller.tell(&Line::Scene { title: scene })?;
        }
        // All of the set-up first, and the ends of the jobs last, so that jobs of one scene really
        // are under way together.
        let ready = jobs
            .iter()
            .map(|job| self.prepare(job))
            .collect::<Result<Vec<_>, _>>()?;
        let (done, endings) = channel();
        let mut running = Vec::new();
        for (index, ready) in ready.into_iter().enumerate() {
            let (one, pending) = self.begin(teller, ready)?;
            running.push(one);
            // A thread of its own sees the moment, whatever else the demo is doing.
            let done = done.clone();
            std::thread::spawn(move || {
                let seen = pending.fence.wait(Some(LOST)).unwrap_or(false);
                let seen = seen.then(now_ns);
                // Of two fences, which thread ran first says nothing; the kernel's times do.
                let signalled = pending.fence.timestamp_ns().ok().flatten();
                let _ = done.send((index, seen, signalled));
            });
        }
        for one in &running {
            if let (Some(fence), Work::For(ms)) = (&one.fence, one.job.work) {
                fence.signal_after(ms)?;
            }
        }
        drop(done);
        for (index, seen, signalled) in endings {
            if let Some(one) = running.get_mut(index) {
                let mid = |ns| {
                    self.clock
                        .earliest_ns(ns)
                        .midpoint(self.clock.latest_ns(ns))
                };
                one.seen_ns = seen.map(mid);
                one.fence_ns = signalled.map(mid);
                one.over = true;
            }
            self.tell(teller, scene, &mut running)?;
        }
        Ok(())
    }

    /// A buffer that the guest, the device and the host know.
    fn prepare<'j>(&mut self, job: &'j Job) -> Result<Ready<'j>, Box<dyn Error>>
    where
        'a: 'j,
    {
        let blob = self.session.create_blob(&BlobOptions::host(1 << 20))?;
        // The guest's kernel does not wait for the device when it makes a blob; this does.
        let known = self.session.export(&blob, Access::READ)?;
        self.session.finish(&known, Some(LOST))?;
        let buffer = self.gpu.take(blob.resource_id())?;
        Ok(Ready { job, blob, buffer })
    }

    /// The host begins a job, and the guest has its fence exported.
    fn begin<'j>(
        &mut self,
        teller: &mut Teller,
        ready: Ready<'j>,
    ) -> Result<(Running<'j>, Pending), Box<dyn Error>>
    where
        'a: 'j,
    {
        let Ready { job, blob, buffer } = ready;
        let mut made_ns = None;
        let mut fence = None;
        if !matches!(job.work, Work::None) {
            let name = format!("{} of ring {} at {}", job.name, job.ring, now_ns());
            let times: Times = self.gpu.call(&Call::Fence {
                fence: name.clone(),
                buffer: buffer.taken.buffer,
                r#use: job.host,
                how: How::Import,
            })?;
            made_ns = Some(times.before_ns);
            fence = Some(self.gpu.fence(&name));
        }
        let work = match job.work {
            Work::For(ms) => format!("work for {ms} ms"),
            Work::None => "nothing on its buffer".to_owned(),
            Work::Forever => "work that does not end".to_owned(),
        };
        let (name, ring) = (&job.name, job.ring);
        teller.tell(&Line::Made {
            name,
            ring,
            work: &work,
        })?;
        let options = FenceOptions {
            ring: Some(ring),
            ..FenceOptions::default()
        };
        let pending = self.session.export_with(&blob, job.guest, options)?;
        teller.tell(&Line::Crossed { name })?;
        let running = Running {
            job,
            made_ns,
            tag: pending.tag(),
            seen_ns: None,
            fence_ns: None,
            over: false,
            told: false,
            _blob: blob,
            fence,
        };
        Ok((running, pending))
    }

    /// Tells the jobs that have ended, those of a ring in the order in which they began.
    fn tell(
        &mut self,
        teller: &mut Teller,
        scene: &str,
        running: &mut [Running<'_>],
    ) -> Result<(), Box<dyn Error>> {
        for index in 0..running.len() {
            let (before, from) = running.split_at_mut(index);
            let Some(one) = from.first_mut() else { break };
            let waits = before
                .iter()
                .any(|other| !other.told && other.job.ring == one.job.ring);
            if one.told || !one.over || waits {
                continue;
            }
            one.told = true;
            let record = match one.seen_ns {
                Some(_) => Some(self.session.result(one.tag)?),
                None => None,
            };
            teller.tell(&Line::Seen {
                scene,
                name: &one.job.name,
                ring: one.job.ring,
                made_ns: one.made_ns,
                taken_ns: record.map_or(0, |record| record.taken_ns),
                signalled_ns: record.and_then(|record| record.signalled_ns),
                done_ns: record.map_or(0, |record| record.done_ns),
                seen_ns: one.seen_ns,
                fence_ns: one.fence_ns,
                errno: record.map_or(0, |record| record.errno),
            })?;
        }
        Ok(())
    }
}
