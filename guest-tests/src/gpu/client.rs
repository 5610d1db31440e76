//! The asking side.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::call::{Call, Descriptors, How, Taken, Times, Use};
use crate::control::{Control, ControlError};
use crate::event::{CONTROL_PORT, PORTS};

type Channel = Control<Box<dyn Read>, Box<dyn Write>>;

/// The program that plays the GPU, seen from a case.
pub struct Gpu {
    channel: RefCell<Channel>,
    /// What has no name gets a number for one.
    last: Cell<u32>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gpu").finish_non_exhaustive()
    }
}

impl Gpu {
    /// From a guest, through its virtio port. Whatever an earlier case has left is gone then.
    ///
    /// # Errors
    /// [`ControlError`] where the guest was started without the port, or nobody answers.
    pub fn in_guest() -> Result<Self, ControlError> {
        let gpu = Self::at_port()?;
        gpu.reset()?;
        Ok(gpu)
    }

    /// The same, leaving everything as it is: for a guest that goes on where another one ended.
    ///
    /// # Errors
    /// As [`Self::in_guest`].
    pub fn at_port() -> Result<Self, ControlError> {
        let path = Path::new(PORTS).join(CONTROL_PORT);
        let port = File::options().read(true).write(true).open(path)?;
        Ok(Self::over(Box::new(port.try_clone()?), Box::new(port)))
    }

    /// From the host side, through its control socket. An answer that does not come within two
    /// minutes is one that never will.
    ///
    /// # Errors
    /// [`ControlError::Io`].
    pub fn connect(control: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(control)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self::over(Box::new(stream.try_clone()?), Box::new(stream)))
    }

    fn over(reader: Box<dyn Read>, writer: Box<dyn Write>) -> Self {
        Self {
            channel: RefCell::new(Control::new(reader, writer)),
            last: Cell::new(0),
        }
    }

    /// Takes a buffer from the bridge by the guest's resource id.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the device has no such resource.
    pub fn take(&self, resource: u32) -> Result<HostBuffer<'_>, ControlError> {
        self.taken(&Call::Take { resource })
    }

    /// The same by its UUID.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_uuid(&self, uuid: [u8; 16]) -> Result<HostBuffer<'_>, ControlError> {
        self.taken(&Call::TakeUuid { uuid })
    }

    pub(super) fn taken(&self, call: &Call) -> Result<HostBuffer<'_>, ControlError> {
        let taken = self.call(call)?;
        Ok(HostBuffer { gpu: self, taken })
    }

    /// Leaves the bridge and comes back.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the bridge is gone.
    pub fn reconnect(&self) -> Result<(), ControlError> {
        self.call(&Call::Reconnect)
    }

    /// Signals all fences and gives all buffers up: what was made before is not there any more.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn reset(&self) -> Result<(), ControlError> {
        self.call(&Call::Reset)
    }

    /// What the daemon has open.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the daemon is gone.
    pub fn descriptors(&self) -> Result<Descriptors, ControlError> {
        self.call(&Call::Descriptors)
    }

    /// Waits until the daemon has nothing open that it had not before. What leaks stays for ever;
    /// what goes may take a message to the VMM and back, also what an earlier case had.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with what is open too much after half a minute.
    pub fn await_descriptors(&self, before: &Descriptors) -> Result<(), ControlError> {
        let begin = Instant::now();
        loop {
            let now = self.descriptors()?;
            if now.is_within(before) {
                return Ok(());
            }
            if begin.elapsed() > Duration::from_secs(30) {
                return Err(ControlError::Refused(format!(
                    "the daemon had {before:?} open, and has {now:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the host's kernel takes deadlines of sync_files.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn takes_deadlines(&self) -> Result<bool, ControlError> {
        self.call(&Call::TakesDeadlines)
    }

    /// Now, in nanoseconds of the host's `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn clock_ns(&self) -> Result<u64, ControlError> {
        self.call(&Call::Clock)
    }

    /// Says that a place has been reached.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn mark(&self, mark: &str) -> Result<(), ControlError> {
        let mark = mark.to_owned();
        self.call(&Call::Mark { mark })
    }

    /// Waits until the place has been reached so many times.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn await_mark(&self, mark: &str, times: u32) -> Result<(), ControlError> {
        let mark = mark.to_owned();
        self.call(&Call::AwaitMark { mark, times })
    }

    /// A fence that somebody else has made.
    pub fn fence(&self, name: &str) -> Fence<'_> {
        Fence {
            gpu: self,
            name: name.to_owned(),
        }
    }

    /// Any call.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ControlError> {
        self.channel.borrow_mut().call(call)
    }

    /// A name that nothing has yet.
    pub(super) fn name(&self, what: &str) -> String {
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        format!("{what} {number}")
    }
}

/// A buffer, on the host's side.
#[derive(Debug)]
pub struct HostBuffer<'a> {
    pub(super) gpu: &'a Gpu,
    /// What the bridge said of it.
    pub taken: Taken,
}

impl<'a> HostBuffer<'a> {
    /// The GPU begins to use the buffer: its fence is on it, and signals at the use's end, when
    /// [`Fence::signal`] says so.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn begin(&self, r#use: Use) -> Result<Fence<'a>, ControlError> {
        self.begin_as(&self.gpu.name("fence"), r#use, How::Import)
    }

    /// The same by the driver, which refuses where another use is under way.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn begin_by_driver(&self, r#use: Use) -> Result<Fence<'a>, ControlError> {
        self.begin_as(&self.gpu.name("fence"), r#use, How::Driver)
    }

    /// The same with a name, which another life's case can use.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn begin_as(&self, name: &str, r#use: Use, how: How) -> Result<Fence<'a>, ControlError> {
        let fence = name.to_owned();
        let buffer = self.taken.buffer;
        let _: Times = self.gpu.call(&Call::Fence {
            fence,
            buffer,
            r#use,
            how,
        })?;
        Ok(self.gpu.fence(name))
    }

    /// Puts a fence of another buffer on this one, too.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn share(&self, fence: &Fence<'_>, r#use: Use) -> Result<Times, ControlError> {
        let (fence, buffer) = (fence.name.clone(), self.taken.buffer);
        self.gpu.call(&Call::Share {
            fence,
            buffer,
            r#use,
        })
    }

    /// Whether the host could begin such a use now. poll(2) and the kernel's export have to agree.
    ///
    /// # Errors
    /// [`ControlError::Refused`], also where they do not.
    pub fn idle(&self, r#use: Use) -> Result<bool, ControlError> {
        let buffer = self.taken.buffer;
        let idle = self.gpu.call(&Call::Idle { buffer, r#use })?;
        let exported: bool = self.gpu.call(&Call::Exported { buffer, r#use })?;
        if idle == exported {
            return Ok(idle);
        }
        Err(ControlError::Refused(format!(
            "poll() says that the buffer is idle: {idle}, the export: {exported}"
        )))
    }

    /// Writes the whole buffer with a pattern.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn fill(&self, seed: u64) -> Result<(), ControlError> {
        let buffer = self.taken.buffer;
        self.gpu.call(&Call::Fill { buffer, seed })
    }

    /// Where the buffer differs from a pattern.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn difference(&self, seed: u64) -> Result<Option<String>, ControlError> {
        let buffer = self.taken.buffer;
        self.gpu.call(&Call::Check { buffer, seed })
    }
}

/// A fence of the host. It lives there, and goes on when this value is dropped.
#[derive(Debug)]
pub struct Fence<'a> {
    gpu: &'a Gpu,
    name: String,
}

impl Fence<'_> {
    /// Its name, which another case's part can use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signals it. When this returns it has.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where it has signalled by itself: ten seconds are over.
    pub fn signal(&self) -> Result<Times, ControlError> {
        let fence = self.name.clone();
        self.gpu.call(&Call::Signal { fence })
    }

    /// Has it signalled in a while.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn signal_after(&self, ms: u64) -> Result<(), ControlError> {
        let fence = self.name.clone();
        self.gpu.call(&Call::SignalAfter { fence, ms })
    }

    /// Waits for [`Self::signal_after`] to happen, and says when it did.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where it had signalled by itself.
    pub fn signalled(&self) -> Result<Times, ControlError> {
        let fence = self.name.clone();
        self.gpu.call(&Call::Signalled { fence })
    }
}
