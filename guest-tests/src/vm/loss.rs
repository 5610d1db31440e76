//! Guests that the emulated host loses (docs/adr/0006).

use std::fmt;

/// What shows that it was the emulator, and nothing that a guest or a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The processor's page tables lie where the guest has no memory.
    PageTables,
    /// The processor has shut down after a triple fault: KVM for AMD's processors has put it back to
    /// what it is at power-on. A Linux that reboots, after a panic as well, leaves it as it was.
    Shutdown,
}

impl Loss {
    /// Of a guest with so much memory, by what QEMU's `info registers` says of its first processor.
    pub(super) fn seen(registers: &str, memory_bytes: u64) -> Option<Self> {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        const PROTECTED: u64 = 1;
        let [mode, tables] = ["CR0=", "CR3="].map(|name| register(registers, name));
        let (mode, tables) = (mode?, tables? & ADDRESS);
        if tables >= memory_bytes {
            Some(Self::PageTables)
        } else if mode & PROTECTED == 0 {
            Some(Self::Shutdown)
        } else {
            None
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PageTables => "its page tables lie where it has no memory",
            Self::Shutdown => "its processor has shut down",
        })
    }
}

fn register(said: &str, name: &str) -> Option<u64> {
    let (_, value) = said.split_once(name)?;
    u64::from_str_radix(value.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 512 << 20;

    /// As they were seen: a guest that sleeps, one that has rebooted, and one that was lost.
    #[test]
    fn a_guest_is_lost_when_its_page_tables_lie_outside_of_its_memory() {
        let sleeps = "CR0=80050033 CR2=00007fd5c1ba5e60 CR3=0000000006715000 CR4=00750ef0";
        let reboots = "CR0=80050033 CR2=00007f08681e2084 CR3=000000000f452000 CR4=00750ef0";
        let lost = "CR0=80050033 CR2=ffffffffc04b50b0 CR3=00000001011c2000 CR4=00750ef0";
        assert_eq!(Loss::seen(sleeps, MEMORY), None);
        assert_eq!(Loss::seen(reboots, MEMORY), None);
        assert_eq!(Loss::seen(lost, MEMORY), Some(Loss::PageTables));
    }

    /// As it was seen after a triple fault (`reboot=t` on the guest's command line).
    #[test]
    fn a_guest_is_lost_when_its_processor_has_shut_down() {
        let shut_down = "CS =f000 ffff0000 0000ffff 00009a00\n\
                         CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000";
        assert_eq!(Loss::seen(shut_down, MEMORY), Some(Loss::Shutdown));
    }

    #[test]
    fn what_says_nothing_of_a_processor_shows_no_loss() {
        assert_eq!(Loss::seen("VM status: running", MEMORY), None);
    }
}
