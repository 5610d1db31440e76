//! The cases, a file for each subject.

mod bad_input;
mod bad_operations;
mod bridge;
mod chain;
mod command;
mod contexts;
mod cpu;
mod cycle;
mod deadlines;
mod events;
mod export;
mod import;
mod joined;
mod mapping;
mod memory;
mod memory_fence;
mod merge;
mod mirror;
mod moving;
mod order;
mod own_dma_buf;
mod polls;
mod quota;
mod readers;
mod scripts;
mod syncobj;
mod timelines;
mod wait_before_signal;
mod window_system;
mod writers;

use guest_tests::payload::Case;

/// All of them, in the order they run in.
pub(crate) const ALL: &[&[Case]] = &[
    export::CASES,
    import::CASES,
    merge::CASES,
    own_dma_buf::CASES,
    syncobj::CASES,
    order::CASES,
    window_system::CASES,
    readers::CASES,
    writers::CASES,
    chain::CASES,
    wait_before_signal::CASES,
    memory_fence::CASES,
    cycle::CASES,
    polls::CASES,
    deadlines::CASES,
    cpu::CASES,
    timelines::CASES,
    events::CASES,
    memory::CASES,
    joined::CASES,
    mirror::CASES,
    mapping::CASES,
    moving::CASES,
    bridge::CASES,
    contexts::CASES,
    bad_input::CASES,
    bad_operations::CASES,
    quota::CASES,
    command::CASES,
    scripts::CASES,
];
