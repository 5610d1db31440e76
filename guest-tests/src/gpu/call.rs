//! The calls and their answers, as they stand in the control channel's lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How somebody uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// It is read.
    Read,
    /// It is written.
    Write,
}

/// How a fence gets onto a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By the driver itself, as a GPU's job does (`VGEM_FENCE_ATTACH`). It refuses (`EBUSY`) where
    /// a fence is there that the use would have to wait for.
    Driver,
    /// As a sync_file (`DMA_BUF_IOCTL_IMPORT_SYNC_FILE`), beside whatever is there.
    Import,
}

/// How far a point of a timeline shall have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// It has a fence.
    Available,
    /// That fence has signalled.
    Signalled,
}

/// One thing that is asked. The answer's type stands with each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// `()`: signals all fences, gives all buffers up, forgets all names and marks.
    Reset,
    /// [`Taken`]: takes a buffer from the bridge.
    Take {
        /// The guest's resource id.
        resource: u32,
    },
    /// [`Taken`]: the same by its UUID.
    TakeUuid {
        /// The UUID.
        uuid: [u8; 16],
    },
    /// [`Taken`]: makes a buffer that no resource has; its resource id is 0.
    Make {
        /// Its size in bytes.
        size: u64,
        /// What kind of memory it is, as the daemon's `--allocator` has it.
        memory: String,
    },
    /// `u32`: gives the resource of a buffer another one in its place, and waits for the daemon's
    /// reply: 0, or the errno that it refuses with.
    Replace {
        /// The buffer that the resource has.
        buffer: u32,
        /// The one that it gets.
        by: u32,
    },
    /// `()`: leaves the bridge and comes back; buffers and fences stay.
    Reconnect,
    /// [`Times`]: puts a new fence on a buffer. It signals when it is told to, or after ten seconds.
    Fence {
        /// The fence's name.
        fence: String,
        /// The buffer, by the number of [`Taken`].
        buffer: u32,
        /// Whose fence it is: a reader's or a writer's.
        r#use: Use,
        /// The way.
        how: How,
    },
    /// [`Times`]: makes a fence that is on no buffer yet.
    Begin {
        /// The fence's name.
        fence: String,
    },
    /// [`Times`]: puts a fence that is there on one more buffer, as a sync_file.
    Share {
        /// The fence's name; one of [`Call::Begin`] or [`How::Import`].
        fence: String,
        /// The buffer.
        buffer: u32,
        /// Whose fence it is there.
        r#use: Use,
    },
    /// [`Times`]: signals a fence. Refused where it has signalled by itself.
    Signal {
        /// The fence's name.
        fence: String,
    },
    /// `()`: the same after a while; the answer comes at once.
    SignalAfter {
        /// The fence's name.
        fence: String,
        /// How long, in milliseconds.
        ms: u64,
    },
    /// [`Times`]: waits until a [`Call::SignalAfter`] has happened.
    Signalled {
        /// The fence's name.
        fence: String,
    },
    /// `()`: has a fence signalled when a point of a timeline has, as a GPU does with work that waits
    /// for the point; or when the waiter gives up, as for a GPU that is reset. The answer comes
    /// when the wait has begun.
    SignalAt {
        /// The fence's name.
        fence: String,
        /// Who waits.
        waiter: String,
        /// The timeline.
        timeline: String,
        /// Its point.
        point: u64,
    },
    /// `()`: takes a timeline that the guest shares from the bridge.
    TakeTimeline {
        /// Its name in later calls.
        timeline: String,
        /// Its UUID.
        uuid: [u8; 16],
    },
    /// `()`: makes a timeline, and puts it on the bridge for the guest.
    OfferTimeline {
        /// Its name in later calls.
        timeline: String,
        /// Its UUID.
        uuid: [u8; 16],
    },
    /// [`Point`]: how far a timeline has come.
    Point {
        /// The timeline.
        timeline: String,
    },
    /// `()`: puts a fence at a point, which materialises.
    Put {
        /// The fence's name; one of [`Call::Begin`] or [`How::Import`].
        fence: String,
        /// The timeline.
        timeline: String,
        /// Its point.
        point: u64,
    },
    /// `()`: somebody begins to wait for a point, asleep on an eventfd (`DRM_IOCTL_SYNCOBJ_EVENTFD`)
    /// as a compositor is. The answer comes when the wait has begun.
    AwaitPoint {
        /// Who waits.
        waiter: String,
        /// The timeline.
        timeline: String,
        /// Its point.
        point: u64,
        /// What they wait for.
        until: Until,
        /// How long, in milliseconds.
        ms: u64,
    },
    /// [`Times`]: stores a counter, and tells nobody.
    Store {
        /// The buffer.
        buffer: u32,
        /// Where in it, in bytes.
        offset: u64,
        /// What it is to hold.
        value: u64,
    },
    /// `u64`: what a counter holds.
    Load {
        /// The buffer.
        buffer: u32,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// [`Times`]: raises a counter through the bridge and tells who waits for it; with 0 it only
    /// tells.
    SignalMemory {
        /// The buffer.
        buffer: u32,
        /// Where in it, in bytes.
        offset: u64,
        /// The least that it is to hold.
        value: u64,
    },
    /// `()`: somebody begins to wait for a counter, asleep on a connection to the bridge. The answer
    /// comes when they have asked.
    AwaitMemory {
        /// Who waits.
        waiter: String,
        /// The buffer.
        buffer: u32,
        /// Where in it, in bytes.
        offset: u64,
        /// The least that they wait for.
        value: u64,
        /// How long, in milliseconds.
        ms: u64,
    },
    /// `bool`: whether the host's kernel takes deadlines of sync_files.
    TakesDeadlines,
    /// `usize`: how many threads the daemon has.
    Threads,
    /// `bool`: whether the host could begin such a use now (poll(2) on the dma-buf).
    Idle {
        /// The buffer.
        buffer: u32,
        /// The use.
        r#use: Use,
    },
    /// `bool`: whether the kernel's own export for such a use is signalled.
    Exported {
        /// The buffer.
        buffer: u32,
        /// The use.
        r#use: Use,
    },
    /// `()`: somebody begins to wait until such a use may begin, asleep on the dma-buf as a consumer
    /// with implicit synchronisation is. The answer comes when the wait has begun.
    Await {
        /// Who waits.
        waiter: String,
        /// The buffer.
        buffer: u32,
        /// The use.
        r#use: Use,
    },
    /// `()`: a waiter gives up now.
    GiveUp {
        /// Who waits.
        waiter: String,
    },
    /// `Option<u64>`: waits until the waiter has been woken, and says when that was, in nanoseconds of
    /// the host's `CLOCK_MONOTONIC`; `null` where they gave up, or their time was over first.
    Woken {
        /// Who waits.
        waiter: String,
    },
    /// `()`: keeps the kernel's own export for such a use (`DMA_BUF_IOCTL_EXPORT_SYNC_FILE`).
    Keep {
        /// Its name.
        export: String,
        /// The buffer.
        buffer: u32,
        /// The use.
        r#use: Use,
    },
    /// [`Kept`]: how a kept export stands.
    Look {
        /// Its name.
        export: String,
    },
    /// `()`: writes the whole buffer with [`super::pattern`].
    Fill {
        /// The buffer.
        buffer: u32,
        /// The pattern's seed.
        seed: u64,
    },
    /// `Option<String>`: where the buffer differs from the pattern, in words; `null` if nowhere.
    Check {
        /// The buffer.
        buffer: u32,
        /// The pattern's seed.
        seed: u64,
    },
    /// [`Descriptors`]: what the daemon has open.
    Descriptors,
    /// `u64`: now, in nanoseconds of the host's `CLOCK_MONOTONIC`.
    Clock,
    /// `()`: says that a place has been reached, for whoever waits for it.
    Mark {
        /// The place.
        mark: String,
    },
    /// `()`: waits until the place has been reached so many times since [`Call::Reset`].
    AwaitMark {
        /// The place.
        mark: String,
        /// How many times.
        times: u32,
    },
}

/// A buffer from the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number in later calls.
    pub buffer: u32,
    /// The guest's resource id, 0 for none.
    pub resource: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its UUID, if it has one.
    pub uuid: Option<[u8; 16]>,
    /// The inode behind its descriptors: the same for the same buffer.
    pub inode: u64,
}

/// When something was done, in nanoseconds of the host's `CLOCK_MONOTONIC`: not before the one and
/// not after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Just before.
    pub before_ns: u64,
    /// Just after.
    pub after_ns: u64,
}

/// How far a timeline has come: its last point of each kind, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// That has a fence.
    pub available: u64,
    /// Whose fence has signalled.
    pub signalled: u64,
}

/// How a kept export stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How many fences the kernel has put into it. There is always one; without anything to wait
    /// for, it is one that has signalled.
    pub fences: usize,
    /// When the last of them signalled, in nanoseconds of the host's `CLOCK_MONOTONIC`; `None`
    /// while one has not.
    pub signalled_ns: Option<u64>,
}

impl Times {
    /// Whether a moment, in nanoseconds of the host's `CLOCK_MONOTONIC`, may be that of the doing.
    pub fn contain(&self, moment_ns: u64) -> bool {
        (self.before_ns..=self.after_ns).contains(&moment_ns)
    }
}

/// What the daemon has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// How many in all.
    pub total: usize,
    /// How many of each kind, by what /proc says that they are.
    pub kinds: BTreeMap<String, usize>,
}

impl Descriptors {
    /// Whether there are no more of any kind than there were.
    pub fn is_within(&self, before: &Self) -> bool {
        let had = |kind| before.kinds.get(kind).copied().unwrap_or(0);
        self.kinds.iter().all(|(kind, count)| *count <= had(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_line_that_a_person_can_write() {
        let line = r#"{"call":"fence","fence":"A","buffer":1,"use":"write","how":"import"}"#;
        let call: Call = serde_json::from_str(line).unwrap();
        let expected = Call::Fence {
            fence: "A".into(),
            buffer: 1,
            r#use: Use::Write,
            how: How::Import,
        };
        assert_eq!(call, expected);
        assert_eq!(serde_json::to_string(&call).unwrap(), line);
    }
}
