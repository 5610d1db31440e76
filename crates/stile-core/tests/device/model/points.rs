//! Events and points: what the guest asks for, and what happens beside that.

use proptest::prelude::*;
use stile_wire::sync::{Direction, Op, PointEvent, TimelineFlags};

use super::pieces::{cookie, resource};

/// One such thing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PointStep {
    /// The device hears of one point that has come so far.
    Reach { nth: usize },
    /// The device hears of all of them, at one time.
    ReachAll,
    /// The device hears again of a point whose watch is over.
    ReachAgain { nth: usize },
    /// A host process offers a timeline.
    Offer { uuid: u8, binary: bool },
    /// A host process puts a fence at a point of a timeline that it has, signalled or not.
    Put { nth: usize, point: u64, busy: bool },
    /// A host process takes the points away.
    Reset { nth: usize },
}

pub(super) fn point_step() -> impl Strategy<Value = PointStep> {
    let nth = 0_usize..8;
    prop_oneof![
        6 => nth.clone().prop_map(|nth| PointStep::Reach { nth }),
        6 => Just(PointStep::ReachAll),
        1 => nth.clone().prop_map(|nth| PointStep::ReachAgain { nth }),
        2 => (1_u8..=2, prop::bool::weighted(0.3))
            .prop_map(|(uuid, binary)| PointStep::Offer { uuid, binary }),
        4 => (nth.clone(), 1_u64..=5, any::<bool>())
            .prop_map(|(nth, point, busy)| PointStep::Put { nth, point, busy }),
        1 => nth.prop_map(|nth| PointStep::Reset { nth }),
    ]
}

/// An operation on events or timelines.
pub(super) fn event_op() -> impl Strategy<Value = Op> {
    let timeline = || prop_oneof![20 => 1_u64..=2, 3 => Just(3), 1 => Just(0)];
    // The second timeline of a context is mostly the binary one that it was booted with.
    let point = || {
        prop_oneof![
            12 => (1_u64..=6).prop_map(|point| (1, point)),
            5 => Just((2, 0)),
            2 => (timeline(), prop_oneof![3 => 1_u64..=6, 1 => Just(0)]),
        ]
    };
    let event = || prop_oneof![20 => 1_u64..=6, 1 => Just(0)];
    let uuid = || (1_u8..=2).prop_map(|uuid| [uuid; 16]);
    let flags = (0_u32..=4).prop_map(TimelineFlags::from_bits_retain);
    let timeout_ns = prop_oneof![
        4 => Just(0_u64),
        4 => (1_u64..=4).prop_map(|nth| nth * 300_000_000),
        1 => Just(2_000_000_001),
    ];
    let until = prop_oneof![Just(PointEvent::Available), Just(PointEvent::Signalled)];
    let direction = prop_oneof![Just(Direction::ToPoint), Just(Direction::ToCookie)];
    let offset = prop_oneof![10 => Just(2048_u64), 1 => Just(32)];
    let size = prop_oneof![5 => Just(192_u64), 5 => Just(256), 1 => Just(127)];
    prop_oneof![
        8 => (resource(), offset, size)
            .prop_map(|(resource_id, offset, size)| Op::Events { resource_id, offset, size }),
        20 => (0_u64..5).prop_map(|seen| Op::EventWait { seen }),
        5 => event().prop_map(|event| Op::Cancel { event }),
        6 => (timeline(), flags).prop_map(|(timeline, flags)| Op::TlCreate { timeline, flags }),
        2 => timeline().prop_map(|timeline| Op::TlDestroy { timeline }),
        12 => point()
            .prop_map(|(timeline, point)| Op::TlSignal { timeline, point }),
        2 => timeline().prop_map(|timeline| Op::TlReset { timeline }),
        10 => (point(), cookie(), direction).prop_map(
            |((timeline, point), cookie, direction)| {
                Op::TlTransfer { timeline, point, cookie, direction }
            }
        ),
        30 => (point(), event(), timeout_ns, until).prop_map(
            |((timeline, point), event, timeout_ns, until)| {
                Op::TlWatch { timeline, point, event, timeout_ns, until }
            }
        ),
        3 => (timeline(), uuid()).prop_map(|(timeline, uuid)| Op::TlShare { timeline, uuid }),
        3 => (timeline(), uuid()).prop_map(|(timeline, uuid)| Op::TlAdopt { timeline, uuid }),
    ]
}
