//! Whatever a guest sends is answered once, and leaves the device whole.

use proptest::collection::vec;
use proptest::prelude::*;
use stile_core::{Device, Limits};
use stile_wire::gpu::types;
use zerocopy::IntoBytes;

use crate::sim::Sim;

const SECOND_NS: u64 = 1_000_000_000;

/// A number that often means something.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0_u32..4,
        1 => Just(30_u32),
        1 => Just(128_u32),
        2 => Just(4096_u32),
        1 => Just(0x0018_0080_u32),
        1 => any::<u32>(),
    ]
}

fn kind() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0x100_u32..=0x10d,
        8 => 0x200_u32..=0x209,
        8 => Just(types::CMD_RESOURCE_CREATE_BLOB),
        8 => Just(types::CMD_CTX_CREATE),
        1 => 0x300_u32..=0x301,
        1 => any::<u32>(),
    ]
}

/// Flags, fence id, context and ring as words, then a body.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        kind(),
        0_u32..=3,
        0_u32..100,
        0_u32..3,
        prop_oneof![0_u32..2, word()],
    );
    let body = prop_oneof![4 => Just(40_usize), 1 => 0_usize..40]
        .prop_flat_map(|words| vec(word(), words));
    (header, body, prop::bool::weighted(0.1)).prop_map(
        |((kind, flags, fence_id, ctx_id, ring), body, cut)| {
            let mut words = vec![kind, flags, fence_id, 0, ctx_id, ring];
            words.extend(body);
            let mut bytes = words.as_bytes().to_vec();
            if cut {
                bytes.truncate(bytes.len() * 2 / 3);
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(128)
    })]

    #[test]
    fn anything_is_answered_once(commands in vec(command(), 1..60)) {
        let mut sim = Sim::default();
        let mut device = Device::new(Limits { host_bytes: 1 << 16, ..Limits::default() }, stile_wire::sync::OpCode::mask());
        let mut now_ns = SECOND_NS;
        for bytes in &commands {
            let chain = sim.open_chain();
            device.submit(&mut sim, now_ns, chain, bytes);
            device.check().expect("the device is whole");
            if device.is_paused() {
                let (id, buffer) = sim.make_buffer(0);
                device.buffer_created(&mut sim, id, Ok(buffer));
                device.check().expect("the device is whole");
            }
            now_ns += SECOND_NS / 10;
            device.tick(&mut sim, now_ns);
            device.check().expect("the device is whole");
        }
        device.tick(&mut sim, now_ns + 10 * SECOND_NS);
        let mut nth = 0;
        while let Some((job, _)) = sim.jobs.get(nth).copied() {
            device.job_done(&mut sim, now_ns, job, Ok(()));
            nth += 1;
        }
        device.check().expect("the device is whole");
        assert_eq!(sim.answers.len(), commands.len());
        assert!(sim.outstanding.is_empty());
        device.reset(&mut sim);
        sim.assert_empty();
    }

    #[test]
    fn even_bytes_without_sense(commands in vec(vec(any::<u8>(), 0..100), 1..20)) {
        let mut sim = Sim::default();
        let mut device = Device::new(Limits::default(), stile_wire::sync::OpCode::mask());
        for bytes in &commands {
            let chain = sim.open_chain();
            device.submit(&mut sim, SECOND_NS, chain, bytes);
            assert!(sim.outstanding.is_empty());
        }
        device.check().expect("the device is whole");
    }
}
