//! What can be asked of `host-gpu`, the program that plays the GPU beside the daemon: it takes
//! buffers from the bridge, puts real fences on them and signals them, and looks at the buffers as
//! any process of the host does.
//!
//! [`Gpu`] is the asking side, for a guest's case and for one that runs across lives. Its answers
//! come when the thing is done: after [`Fence::signal`] the host's fence has signalled, before it
//! it has not. What a case claims to be *pending* is proven by that order, never by a time.

mod call;
mod client;
mod clock;
mod consumer;
mod memory;
mod moving;
pub mod pattern;
mod timeline;

pub use call::{Call, Descriptors, How, Kept, Point, Taken, Times, Until, Use};
pub use client::{Fence, Gpu, HostBuffer};
pub use clock::{Clock, now_ns};
pub use consumer::{HostExport, Waiter};
pub use timeline::HostTimeline;
