//! The same bytes on both sides.

use guest_tests::gpu::{Gpu, HostBuffer, pattern};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Blob, BlobMemory, BlobOptions, Mapping};

use crate::stage::{Guest, PAGE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "host and guest see each other's bytes in a host buffer mapped through hostmem",
        run: bytes_cross_in_host_buffers,
    },
    Case {
        name: "host and guest see each other's bytes in a buffer of the guest's pages",
        run: bytes_cross_in_guest_pages,
    },
    Case {
        name: "a mapping stays what it is while others come and go",
        run: a_mapping_stays_while_others_come_and_go,
    },
    Case {
        name: "a mapping outlives its buffer's handle, and the memory is zero for the next one",
        run: a_mapping_outlives_its_handle,
    },
];

/// Pages of the buffers: one, several, more than a page table's worth.
const PAGES: [u64; 3] = [1, 5, 600];

/// Writes on one side and reads on the other, both ways.
fn bytes_cross(memory: &Mapping, host: &HostBuffer<'_>, seed: u64) -> Result {
    memory.write(0, &pattern::bytes(seed, memory.len()))?;
    assert_eq!(host.difference(seed)?, None, "what the guest wrote");
    let seed = seed.wrapping_add(1);
    host.fill(seed)?;
    assert_eq!(difference(memory, seed)?, None, "what the host wrote");
    Ok(())
}

pub(super) fn difference(memory: &Mapping, seed: u64) -> Result<Option<String>> {
    let mut found = vec![0; memory.len()];
    memory.read(0, &mut found)?;
    Ok(pattern::difference(seed, &found))
}

fn bytes_cross_in(options: impl Fn(u64) -> BlobOptions) -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    for pages in PAGES {
        let bytes = pages.saturating_mul(PAGE);
        let buffer = guest.blob(&options(bytes))?;
        let memory = buffer.map()?;
        let host = gpu.take(buffer.resource_id())?;
        assert_eq!(host.taken.size, bytes);
        bytes_cross(&memory, &host, pages)?;
    }
    Ok(())
}

fn bytes_cross_in_host_buffers() -> Outcome {
    bytes_cross_in(BlobOptions::host)
}

fn bytes_cross_in_guest_pages() -> Outcome {
    bytes_cross_in(BlobOptions::guest)
}

fn a_mapping_stays_while_others_come_and_go() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    let mapped = |pages: u64| -> Result<(Blob, Mapping)> {
        let bytes = pages.saturating_mul(PAGE);
        let buffer = guest.blob(&BlobOptions::host(bytes))?;
        let memory = buffer.map()?;
        Ok((buffer, memory))
    };
    let (before, first) = (mapped(3)?, mapped(2)?);
    let (buffer, memory) = mapped(4)?;
    let host = gpu.take(buffer.resource_id())?;
    memory.write(0, &pattern::bytes(42, memory.len()))?;
    // Places in the region before and behind it get free and are taken again.
    drop(first);
    for pages in 1..=8 {
        let (other, other_memory) = mapped(pages)?;
        let other_host = gpu.take(other.resource_id())?;
        bytes_cross(&other_memory, &other_host, pages)?;
        assert_eq!(
            host.difference(42)?,
            None,
            "beside a buffer of {pages} pages"
        );
    }
    drop(before);
    assert_eq!(difference(&memory, 42)?, None);
    bytes_cross(&memory, &host, 43)
}

fn a_mapping_outlives_its_handle() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    for memory in [BlobMemory::Host3d, BlobMemory::Guest] {
        let options = BlobOptions::host(8 * PAGE).in_memory(memory);
        let buffer = guest.blob(&options)?;
        let memory = buffer.map()?;
        let mut bytes = vec![1; memory.len()];
        memory.read(0, &mut bytes)?;
        assert!(bytes.iter().all(|byte| *byte == 0), "it has old bytes");
        let host = gpu.take(buffer.resource_id())?;
        drop(buffer);
        guest.settle()?;
        bytes_cross(&memory, &host, 7)?;
    }
    Ok(())
}
