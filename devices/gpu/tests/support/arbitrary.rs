//! Commands as no driver would send them: bytes without sense, headers in front of such bytes, and
//! whole commands with arguments from so small a range that they meet.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use stile_frontend::gpu::{
    Command, assign_uuid, attach, capset, capset_info, create_blob, create_context,
    destroy_context, detach, map_blob, submit, unmap_blob, unref,
};
use stile_frontend::{Chain, Piece, Plan, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::{
    Access, encode_drop, encode_export, encode_import, encode_merge, encode_status, encode_wait,
};

/// A chain that is to be put into the control ring.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    bytes: Vec<u8>,
    /// How many bytes each readable descriptor holds.
    piece: usize,
    /// Lengths of the writable descriptors.
    room: Vec<u32>,
    indirect: bool,
}

impl Put {
    /// Puts it there.
    pub(crate) fn run(&self, vm: &mut Vm) {
        let readable: Vec<Piece> = self
            .bytes
            .chunks(self.piece)
            .map(|part| vm.piece(part))
            .collect();
        let mut chain = Chain {
            readable,
            writable: self.room.iter().map(|bytes| vm.room(*bytes)).collect(),
            indirect: self.indirect,
        };
        if chain.readable.is_empty() && chain.writable.is_empty() {
            chain.writable.push(vm.room(24));
        }
        vm.control.put(&chain);
    }
}

/// A driver that sends these, and others in between; each is used, exactly once, and the device is
/// alive after each.
pub(crate) fn survives(vm: &mut Vm, puts: &[Put]) {
    for put in puts {
        put.run(vm);
        vm.control.show();
        vm.control.kick();
        vm.cursor.put(&Chain {
            readable: vec![vm.piece(&[0; 24])],
            writable: vec![],
            indirect: false,
        });
        vm.cursor.show();
        vm.cursor.kick();
        vm.cursor.wait();
    }
    // Every chain comes back once; `Ring::take` sees to "once".
    for _ in puts {
        vm.control.wait();
    }
    assert_eq!(vm.control.take(), None);
}

/// Many of them.
pub(crate) fn puts() -> impl Strategy<Value = Vec<Put>> {
    vec(put(), 1..24)
}

/// A guest for them.
pub(crate) fn plan() -> Plan {
    Plan {
        control_size: 1024,
        ..Plan::default()
    }
}

fn put() -> impl Strategy<Value = Put> {
    let room = prop_oneof![
        4 => Just(vec![1056]),
        1 => vec(0..40_u32, 0..4),
        1 => Just(vec![]),
    ];
    (bytes(), 1..600_usize, room, any::<bool>()).prop_map(|(bytes, piece, room, indirect)| Put {
        // As many descriptors as an indirect table may hold here, and no more.
        piece: piece.max(bytes.len() / 40 + 1),
        bytes,
        room,
        indirect,
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..300),
        2 => (kind(), vec(any::<u8>(), 0..200))
            .prop_map(|(kind, body)| Command::new(kind).body(&body[..]).bytes()),
        6 => (command(), fence()).prop_map(|(command, fence)| fenced(command, fence).bytes()),
    ]
}

fn kind() -> impl Strategy<Value = u32> {
    prop_oneof![
        0x100..0x112_u32,
        0x200..0x20b_u32,
        0x300..0x303_u32,
        any::<u32>()
    ]
}

fn fenced(command: Command, fence: Option<(Option<u8>, u64)>) -> Command {
    match fence {
        None => command,
        Some((None, id)) => command.fence(id),
        Some((Some(ring), id)) => command.ring_fence(ring, id),
    }
}

fn fence() -> impl Strategy<Value = Option<(Option<u8>, u64)>> {
    let ring = proptest::option::of(select(&[0_u8, 1, 63, 64, 255][..]));
    proptest::option::of((ring, 0..40_u64))
}

fn id() -> impl Strategy<Value = u32> {
    0..4_u32
}

fn command() -> impl Strategy<Value = Command> {
    let size = select(&[0_u64, 1, 4096, 4097, 8192, 1 << 20, u64::MAX][..]);
    let pages = vec((0..1024_u64, select(&[0_u32, 1, 4096, 8192][..])), 0..4);
    let offset = select(&[0_u64, 1, 4096, 8192, 1 << 29, u64::MAX - 4095][..]);
    prop_oneof![
        3 => (id(), select(&[0_u32, 30, 30, 30, 5][..])).prop_map(|(id, set)| create_context(id, set)),
        1 => id().prop_map(destroy_context),
        3 => (id(), 0..5_u32, 0..9_u32, size, pages).prop_map(|(id, mem, flags, size, pages)| {
            let pages: Vec<Piece> = pages
                .into_iter()
                .map(|(page, bytes)| Piece { address: 0x80_0000 + page * 4096, bytes })
                .collect();
            create_blob(id, mem, flags, size, &pages)
        }),
        1 => id().prop_map(unref),
        2 => (id(), id()).prop_map(|(context, id)| attach(context, id)),
        1 => (id(), id()).prop_map(|(context, id)| detach(context, id)),
        1 => id().prop_map(assign_uuid),
        1 => (id(), offset).prop_map(|(id, offset)| map_blob(id, offset)),
        1 => id().prop_map(unmap_blob),
        1 => (0..2_u32).prop_map(capset_info),
        1 => (select(&[0_u32, 30][..]), 0..3_u32).prop_map(|(id, version)| capset(id, version)),
        1 => Just(Command::new(CMD_GET_DISPLAY_INFO)),
        6 => (id(), vec(operation(), 0..12)).prop_map(|(id, payload)| submit(id, &payload.concat())),
    ]
}

fn operation() -> impl Strategy<Value = Vec<u8>> {
    let cookie = || 0..5_u64;
    let ring = || select(&[0_u8, 0, 0, 1, 63][..]);
    let access = || (0..5_u32).prop_map(Access::from_bits_retain);
    let place = select(&[0_u64, 64, 100, 4096 - 64, 1 << 63][..]);
    let size = select(&[0_u64, 128, 4096, 65536, u64::MAX][..]);
    prop_oneof![
        (ring(), any::<u32>(), id(), access(), cookie()).prop_map(|(ring, tag, id, access, to)| {
            encode_export(ring, tag, id, access, to).into()
        }),
        (ring(), any::<u32>(), id(), access(), cookie()).prop_map(|(ring, tag, id, access, of)| {
            encode_import(ring, tag, id, access, of).into()
        }),
        (ring(), any::<u32>(), cookie(), cookie(), cookie())
            .prop_map(|(ring, tag, one, other, to)| encode_merge(ring, tag, one, other, to).into()),
        (ring(), any::<u32>(), cookie())
            .prop_map(|(ring, tag, of)| encode_wait(ring, tag, of).into()),
        (ring(), any::<u32>(), cookie())
            .prop_map(|(ring, tag, of)| encode_drop(ring, tag, of).into()),
        (ring(), any::<u32>(), id(), place, size)
            .prop_map(|(ring, tag, id, at, size)| encode_status(ring, tag, id, at, size).into()),
        vec(any::<u8>(), 0..40),
    ]
}
