//! What a guest does in the parts of cases across lives (`guest-cases --across`), by name.

/// Fences on all rings, until the VMM is killed.
pub const HOLD: &str = "fences are held until the end";
/// The same, and then a reboot.
pub const REBOOT: &str = "fences are held while the guest reboots";
/// In the life after that.
pub const NEXT_LIFE: &str = "an earlier life's fences are nothing to this one's";
/// While the program that plays the GPU is killed.
pub const KILLED_GPU: &str = "the fences of a GPU that is killed signal";
/// With a daemon whose deadline is short.
pub const DEADLINE: &str = "the deadline answers, and the device goes on";
/// With the same.
pub const DEADLINE_ORDER: &str = "the deadline of a fence frees those behind it, in order";

/// With the same: a fence at the point that it waits for.
pub const LOOP: &str = "a loop of fences is parted by deadlines, and both sides go on";

/// The name of the fence that is held, and the mark of a guest that holds it.
pub const HELD: &str = "held";
/// The mark of each life's begin.
pub const UP: &str = "up";
