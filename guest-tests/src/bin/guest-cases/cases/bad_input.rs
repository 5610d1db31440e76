//! Whatever a guest sends, it is told what is wrong with it, and nobody else feels it.

use guest_tests::gpu::{Fence, Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{
    Access, Blob, BlobOptions, Context, ContextOptions, Errno, Pending, Record, RenderNode, Report,
    ResourceId, StatusBlob, StatusOptions, Submission,
};

use crate::stage::{Guest, PAGE, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "unknown resources are refused",
        run: || harmless(unknown_resources),
    },
    Case {
        name: "unknown cookies are refused, and so are names that are taken",
        run: || harmless(unknown_cookies),
    },
    Case {
        name: "access flags that are none are refused",
        run: || harmless(access_flags),
    },
    Case {
        name: "rings from 64 on, and other rings than the submission's, are refused",
        run: || harmless(rings),
    },
    Case {
        name: "unknown codes, wrong sizes and reserved fields are refused",
        run: || harmless(codes_and_sizes),
    },
    Case {
        name: "a submission that is cut short ends there, and what came before has happened",
        run: || harmless(cut_short),
    },
    Case {
        name: "a submission that is too long or has too many operations is refused",
        run: || harmless(too_much),
    },
    Case {
        name: "a status blob that does not fit is refused, and the old one goes on",
        run: || harmless(status_that_does_not_fit),
    },
    Case {
        name: "a wait that nobody waits for is refused",
        run: || harmless(wait_without_a_fence),
    },
    Case {
        name: "random bytes are refused",
        run: || harmless(random_bytes),
    },
];

const ENOENT: u32 = 2;
const E2BIG: u32 = 7;
const EEXIST: u32 = 17;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;
const EBADMSG: u32 = 74;

/// Someone else, with a fence pending, while a case does its worst.
pub(super) struct Bystander<'a> {
    guest: Guest,
    fence: Fence<'a>,
    exported: Pending,
    _buffer: Blob,
}

impl<'a> Bystander<'a> {
    pub(super) fn begin(gpu: &'a Gpu) -> Result<Self> {
        let mut guest = Guest::new(gpu)?;
        let buffer = guest.buffer()?;
        let fence = gpu.take(buffer.resource_id())?.begin(Use::Write)?;
        let exported = guest.session.export(&buffer, Access::READ)?;
        guest.pending(&exported)?;
        Ok(Self {
            guest,
            fence,
            exported,
            _buffer: buffer,
        })
    }

    /// Its fence is still right: not early, not lost.
    pub(super) fn unharmed(mut self) -> Result {
        self.guest.pending(&self.exported)?;
        let signalled = self.fence.signal()?;
        self.guest.signals(&self.exported, &signalled)?;
        Ok(())
    }
}

/// A context whose every status record is looked at.
pub(super) struct Prober {
    pub(super) context: Context,
    pub(super) status: StatusBlob,
    pub(super) buffer: Blob,
}

impl Prober {
    pub(super) fn new() -> Result<Self> {
        let context = Context::new(RenderNode::find()?, &ContextOptions::default())?;
        let status = StatusBlob::new(&context, &StatusOptions::default())?;
        let buffer = context.create_blob(&BlobOptions::host(PAGE))?;
        Ok(Self {
            context,
            status,
            buffer,
        })
    }

    /// Submits, waits for the fence, and gives the records that came, in the order of the operations'
    /// tags: an EXPORT's comes when its wait ends.
    pub(super) fn submit(&mut self, submission: Submission<'_>) -> Result<Vec<Record>> {
        let submission = submission.unchecked().out_fence();
        let fence = self.context.submit(&submission)?.fence;
        let fence = fence.ok_or("The kernel gave no fence")?;
        assert!(fence.wait(Some(PATIENCE))?, "no answer came");
        let records = self.status.drain()?.into_iter().map(|report| match report {
            Report::Record(record) => Ok(record),
            Report::Lost { count } => Err(format!("{count} records were lost").into()),
        });
        let mut records = records.collect::<Result<Vec<_>>>()?;
        records.sort_by_key(|record| record.tag);
        Ok(records)
    }

    /// The errnos of a submission's records.
    pub(super) fn errnos(&mut self, submission: Submission<'_>) -> Result<Vec<u32>> {
        let records = self.submit(submission)?;
        Ok(records.iter().map(|record| record.errno).collect())
    }

    /// Operations in one submission, and the errno of each.
    pub(super) fn answered(&mut self, expected: &Expected) -> Result {
        let errnos = self.errnos(expected.submission.clone())?;
        let all = expected.operations.iter();
        for ((errno, payload), found) in all.zip(&errnos) {
            assert_eq!(found, errno, "{payload:02x?}");
        }
        assert_eq!(errnos.len(), expected.operations.len());
        Ok(())
    }

    /// One operation, one record with this errno.
    pub(super) fn refused(&mut self, errno: u32, submission: Submission<'_>) -> Result {
        let payload = submission.payload().to_vec();
        assert_eq!(self.errnos(submission)?, [errno], "{payload:02x?}");
        Ok(())
    }
}

/// Operations for one submission, and what is to become of them. They have one tag, so none but the
/// last may wait: their records come in their order.
pub(super) struct Expected {
    submission: Submission<'static>,
    operations: Vec<(u32, Vec<u8>)>,
}

impl Expected {
    pub(super) fn new() -> Self {
        Self {
            submission: ring(),
            operations: Vec::new(),
        }
    }

    /// One more: it is answered with this errno.
    pub(super) fn add(&mut self, errno: u32, operation: &Submission<'_>) {
        let payload = operation.payload().to_vec();
        self.submission = self.submission.clone().raw_payload(&payload);
        self.operations.push((errno, payload));
    }
}

/// Tries something, while a bystander waits. Afterwards the same context still works.
pub(super) fn harmless(case: fn(&mut Prober) -> Result) -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let mut prober = Prober::new()?;
    case(&mut prober)?;
    let good = ring().export(&prober.buffer, Access::WRITE, 0_u64, 99);
    let records = prober.submit(good)?;
    assert!(
        matches!(
            records[..],
            [Record {
                errno: 0,
                tag: 99,
                ..
            }]
        ),
        "{records:?}"
    );
    bystander.unharmed()
}

pub(super) fn ring() -> Submission<'static> {
    Submission::on_ring(1)
}

fn unknown_resources(prober: &mut Prober) -> Result {
    let cookie = ring().export(&prober.buffer, Access::READ, 5_u64, 0);
    assert_eq!(prober.errnos(cookie)?, [0]);
    // Of another context: a resource that is there, but not here.
    let other = Prober::new()?;
    let strange = other.buffer.resource_id();
    for resource in [0, strange, 4_000_000_000, u32::MAX] {
        let resource = ResourceId(resource);
        prober.refused(ENOENT, ring().export(resource, Access::READ, 6_u64, 0))?;
        prober.refused(ENOENT, ring().import(resource, Access::WRITE, 5_u64, 0))?;
        if resource.0 != 0 {
            prober.refused(ENOENT, ring().status(resource, 0, PAGE, 0))?;
        }
    }
    // What was refused has left no name behind.
    prober.refused(ENOENT, ring().wait(6_u64, 0))
}

fn unknown_cookies(prober: &mut Prober) -> Result {
    let buffer = ResourceId(prober.buffer.resource_id());
    let made = ring().export(buffer, Access::READ, 5_u64, 0);
    assert_eq!(prober.errnos(made)?, [0]);
    for unknown in [6_u64, u64::MAX] {
        prober.refused(ENOENT, ring().import(buffer, Access::READ, unknown, 0))?;
        prober.refused(ENOENT, ring().merge(unknown, 5_u64, 7_u64, 0))?;
        prober.refused(ENOENT, ring().merge(5_u64, unknown, 7_u64, 0))?;
        prober.refused(ENOENT, ring().wait(unknown, 0))?;
        prober.refused(ENOENT, ring().drop_cookie(unknown, 0))?;
    }
    // 0 names nothing.
    prober.refused(EINVAL, ring().import(buffer, Access::READ, 0_u64, 0))?;
    prober.refused(EINVAL, ring().merge(0_u64, 5_u64, 7_u64, 0))?;
    prober.refused(EINVAL, ring().merge(5_u64, 0_u64, 7_u64, 0))?;
    prober.refused(EINVAL, ring().merge(5_u64, 5_u64, 0_u64, 0))?;
    prober.refused(EINVAL, ring().wait(0_u64, 0))?;
    prober.refused(EINVAL, ring().drop_cookie(0_u64, 0))?;
    // 5 is taken.
    prober.refused(EEXIST, ring().export(buffer, Access::READ, 5_u64, 0))?;
    prober.refused(EEXIST, ring().merge(5_u64, 5_u64, 5_u64, 0))?;
    assert_eq!(prober.errnos(ring().drop_cookie(5_u64, 0))?, [0]);
    prober.refused(ENOENT, ring().drop_cookie(5_u64, 0))
}

fn access_flags(prober: &mut Prober) -> Result {
    let buffer = ResourceId(prober.buffer.resource_id());
    let made = ring().export(buffer, Access::READ, 5_u64, 0);
    assert_eq!(prober.errnos(made)?, [0]);
    for bits in [0, 4, 5, 7, 1 << 31, u32::MAX] {
        let access = Access::from_bits_retain(bits);
        prober.refused(EINVAL, ring().export(buffer, access, 6_u64, 0))?;
        prober.refused(EINVAL, ring().import(buffer, access, 5_u64, 0))?;
    }
    prober.refused(ENOENT, ring().wait(6_u64, 0))
}

fn rings(prober: &mut Prober) -> Result {
    let buffer = ResourceId(prober.buffer.resource_id());
    // In the operation's header.
    for header in [0, 2, 63, 64, 65, 255] {
        let submission = ring()
            .header_ring(header)
            .export(buffer, Access::READ, 6_u64, 0);
        prober.refused(EINVAL, submission)?;
    }
    prober.refused(EINVAL, Submission::global().header_ring(1).wait(6_u64, 0))?;
    // In the submission itself: the kernel has them, not the device.
    for number in [64, 65, 255, 256, u32::MAX] {
        let submission = Submission::on_ring(0).raw_ring(number).wait(6_u64, 0);
        let refused = prober.context.submit(&submission.unchecked().out_fence());
        let errno = refused.err().and_then(|error| error.errno());
        assert_eq!(errno, Some(Errno::INVAL), "ring {number}");
    }
    // The last one is good.
    let last = Submission::on_ring(63).export(buffer, Access::READ, 0_u64, 0);
    assert_eq!(prober.errnos(last)?, [0]);
    Ok(())
}

/// An operation's header and zeros, `length` bytes in all.
fn operation(code: u8, ring: u8, size: u16, tag: u32, length: usize) -> Vec<u8> {
    let [low, high] = size.to_le_bytes();
    let mut bytes = vec![code, ring, low, high];
    bytes.extend(tag.to_le_bytes());
    bytes.resize(length, 0);
    bytes
}

fn codes_and_sizes(prober: &mut Prober) -> Result {
    let mut refused = Expected::new();
    // Kept for later versions, or never given out.
    for code in [
        0x00, 0x01, 0x0d, 0x7f, 0x8e, 0x8f, 0x9a, 0x9b, 0x9e, 0xbf, 0xff,
    ] {
        for size in [8_u16, 24, 64] {
            let bytes = operation(code, 1, size, 7, size.into());
            refused.add(ENOSYS, &ring().raw_payload(&bytes));
        }
    }
    for (code, right) in [
        (0x80, 24_u16),
        (0x81, 24),
        (0x82, 32),
        (0x83, 16),
        (0x84, 16),
        (0x85, 32),
        (0x86, 16),
        (0x87, 24),
        (0x88, 16),
        (0x89, 16),
        (0x8a, 8),
        (0x8b, 32),
        (0x8c, 16),
        (0x8d, 16),
        (0x90, 24),
        (0x91, 16),
        (0x92, 24),
        (0x93, 16),
        (0x94, 40),
        (0x95, 48),
        (0x96, 32),
        (0x97, 32),
        (0x98, 48),
        (0x99, 32),
        (0x9c, 24),
        (0x9d, 24),
    ] {
        for size in [8_u16, 16, 24, 32, 40, 48, 128] {
            if size != right {
                let bytes = operation(code, 1, size, 7, size.into());
                refused.add(EINVAL, &ring().raw_payload(&bytes));
            }
        }
    }
    let status = ring().status(&prober.buffer, 0, PAGE, 7);
    let mut bytes = status.payload().to_vec();
    if let Some(reserved) = bytes.get_mut(12) {
        *reserved = 1;
    }
    refused.add(EINVAL, &ring().raw_payload(&bytes));
    prober.answered(&refused)
}

fn cut_short(prober: &mut Prober) -> Result {
    let good = ring().export(&prober.buffer, Access::READ, 0_u64, 1);
    let good = good.payload().to_vec();
    let mut rests: Vec<Vec<u8>> = Vec::new();
    // Less than a header.
    rests.extend((1..8).map(|length| operation(0x80, 1, 24, 7, length)));
    // A size that is less than a header, no multiple of 8, or more than what is left.
    for size in [0, 1, 7, 9, 20, 32, 4096, u16::MAX] {
        rests.push(operation(0x80, 1, size, 7, 24));
    }
    for rest in rests {
        let submission = ring().raw_payload(&good).raw_payload(&rest);
        let records = prober.submit(submission)?;
        let ends: Vec<_> = records.iter().map(|one| (one.tag, one.errno)).collect();
        // The tag is told where it was there.
        let wanted = if rest.len() < 8 {
            [(0, EBADMSG), (1, 0)]
        } else {
            [(1, 0), (7, EBADMSG)]
        };
        assert_eq!(ends, wanted, "{rest:02x?}");
    }
    // What comes after a bad size is not looked at.
    let bad = operation(0x80, 1, 9, 7, 24);
    let submission = ring().raw_payload(&bad).raw_payload(&good);
    assert_eq!(prober.errnos(submission)?, [EBADMSG]);
    Ok(())
}

fn too_much(prober: &mut Prober) -> Result {
    let capset = *prober.context.capset();
    let most: usize = capset.max_submit_bytes.get().try_into()?;
    // The device reads no more than it has to: also what is far too long is told.
    for length in [most.saturating_add(8), most.saturating_mul(2), 1 << 20] {
        let records = prober.submit(ring().raw_payload(&vec![0x80; length]))?;
        let ends: Vec<_> = records
            .iter()
            .map(|one| (one.cmd, one.tag, one.errno))
            .collect();
        assert_eq!(ends, [(0, 0, E2BIG)], "{length} bytes");
    }
    // As long as it may be, in operations that nobody knows.
    let long = operation(0xff, 1, 32768, 7, 32768).repeat(most.checked_div(32768).unwrap_or(1));
    let errnos = prober.errnos(ring().raw_payload(&long))?;
    assert!(errnos.iter().all(|errno| *errno == ENOSYS), "{errnos:?}");

    let operations: usize = capset.max_operations.get().try_into()?;
    let mut submission = ring();
    for tag in (1..).take(operations.saturating_add(3)) {
        submission = submission.export(&prober.buffer, Access::READ, 0_u64, tag);
    }
    let errnos = prober.errnos(submission)?;
    // The first one too many is told, those after it are not looked at.
    let (first_too_many, good) = errnos.split_last().ok_or("no record came")?;
    assert_eq!((good.len(), *first_too_many), (operations, E2BIG));
    assert!(good.iter().all(|errno| *errno == 0), "{errnos:?}");
    Ok(())
}

fn status_that_does_not_fit(prober: &mut Prober) -> Result {
    let page = ResourceId(prober.buffer.resource_id());
    for (offset, size) in [
        (0, 0),
        (0, 64),
        (0, 127),
        (32, 128),
        (1, 128),
        (0, PAGE.saturating_add(64)),
        (PAGE, 128),
        (PAGE.saturating_sub(64), 128),
        (0, 65536 + 64),
        (u64::MAX - 63, 128),
        (64, u64::MAX),
    ] {
        prober.refused(EINVAL, ring().status(page, offset, size, 0))?;
    }
    Ok(())
}

fn wait_without_a_fence(prober: &mut Prober) -> Result {
    let made = ring().export(&prober.buffer, Access::READ, 5_u64, 1);
    assert_eq!(prober.errnos(made)?, [0]);
    prober.context.submit(&ring().wait(5_u64, 2))?;
    let records = prober.submit(ring().wait(5_u64, 3))?;
    let ends: Vec<_> = records.iter().map(|one| (one.tag, one.errno)).collect();
    assert_eq!(ends, [(2, EINVAL), (3, 0)]);
    Ok(())
}

fn random_bytes(prober: &mut Prober) -> Result {
    // Few enough that the bystander's fence, which the host's kernel ends after ten seconds, is
    // still pending on a slow machine.
    for seed in 0..60_u64 {
        let length = usize::try_from(seed)?.saturating_mul(23);
        let bytes = guest_tests::gpu::pattern::bytes(seed, length);
        // No operation of this version among them, so that all that comes is a refusal.
        let bytes: Vec<u8> = bytes.iter().map(|byte| byte & 0x7f).collect();
        let errnos = prober.errnos(ring().raw_payload(&bytes))?;
        assert!(
            errnos.iter().all(|errno| [ENOSYS, EBADMSG].contains(errno)),
            "{bytes:02x?}: {errnos:?}"
        );
        assert_eq!(errnos.is_empty(), bytes.is_empty());
    }
    Ok(())
}
