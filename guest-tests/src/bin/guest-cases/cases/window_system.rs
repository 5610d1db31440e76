//! What a window system does with the buffers of an explicit client: Vulkan's AcquireNextImage and
//! QueuePresent, over buffers that the compositor synchronises implicitly.

use guest_tests::gpu::{Gpu, Kept, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Submission};

use crate::stage::Guest;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an acquired image waits for its compositor and not for the client's own work",
        run: an_acquired_image_waits_for_its_compositor,
    },
    Case {
        name: "an image is acquired and used again in one submission, and waits for its compositor",
        run: an_image_is_acquired_and_used_in_one_submission,
    },
    Case {
        name: "a compositor that knows only the buffer waits for what the client presented",
        run: a_compositor_waits_for_what_was_presented,
    },
    Case {
        name: "an image that is presented with several semaphores is waited for until the last",
        run: an_image_is_presented_with_several_semaphores,
    },
];

fn an_acquired_image_waits_for_its_compositor() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut client = Guest::new(&gpu)?;
    // The compositor has released the first image; it still reads from it, as does the display. The
    // other image is on show.
    let (image, other) = (client.buffer()?, client.buffer()?);
    let [host, host_other] = [
        gpu.take(image.resource_id())?,
        gpu.take(other.resource_id())?,
    ];
    let texturing = host.begin_by_driver(Use::Read)?;
    let scanout = host.begin(Use::Read)?;
    let on_show = host_other.begin_by_driver(Use::Read)?;

    // AcquireNextImage: before the image is used again.
    let acquired = client.session.export(&image, Access::WRITE)?;
    client.pending(&acquired)?;
    // The client's own work is on it from now on.
    let own = client.work(&gpu)?;
    client.session.import(&image, Access::WRITE, own.cookie)?;
    // Who asks only now gets that, too.
    let late = client.session.export(&image, Access::WRITE)?;
    client.pending(&acquired)?;

    scanout.signal()?;
    client.pending(&acquired)?;
    let released = texturing.signal()?;
    client.signals(&acquired, &released)?;
    client.pending(&own.pending)?;
    client.pending(&late)?;
    assert!(!host.idle(Use::Read)?, "the client's work is on the image");

    let done = own.fence.signal()?;
    client.signals(&late, &done)?;
    on_show.signal()?;
    Ok(())
}

fn an_image_is_acquired_and_used_in_one_submission() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut client = Guest::new(&gpu)?;
    let image = client.buffer()?;
    let host = gpu.take(image.resource_id())?;
    let compositor = host.begin_by_driver(Use::Read)?;
    let own = client.work(&gpu)?;

    let (cookie, tag, other_tag) = (
        client.session.cookie(),
        client.session.tag(),
        client.session.tag(),
    );
    let ring = client.session.ring_of(&image);
    let submission = Submission::on_ring(ring)
        .export(&image, Access::WRITE, cookie, tag)
        .import(&image, Access::WRITE, own.cookie, other_tag);
    let acquired = client.submit(submission)?;
    client.fence_pending(&acquired)?;
    assert_eq!(client.session.result(other_tag)?.errno, 0, "the import");
    assert!(!host.idle(Use::Read)?, "the client's work is on the image");

    let released = compositor.signal()?;
    client.not_before(&acquired, &released)?;
    let record = client.session.result(tag)?;
    assert_eq!(record.errno, 0);
    let signalled = record.signalled_ns.ok_or("the record has no host time")?;
    assert!(released.contain(signalled), "{record:?}, {released:?}");
    // The cookie holds the same and no more.
    let again = client.submit(Submission::on_ring(ring).wait(cookie, 0))?;
    client.fence_at_once(&again)?;
    client.pending(&own.pending)?;
    own.fence.signal()?;
    Ok(())
}

fn a_compositor_waits_for_what_was_presented() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut client = Guest::new(&gpu)?;
    let image = client.buffer()?;
    let compositor = gpu.take(image.resource_id())?;
    let rendering = client.work(&gpu)?;
    assert!(compositor.idle(Use::Write)?);

    // QueuePresent: it returns while the GPU is still at work.
    client
        .session
        .import(&image, Access::WRITE, rendering.cookie)?;
    client.pending(&rendering.pending)?;

    let sleeper = compositor.sleeper(Use::Read)?;
    let export = compositor.export(Use::Read)?;
    assert!(!compositor.idle(Use::Read)?);
    let pending = Kept {
        fences: 1,
        signalled_ns: None,
    };
    assert_eq!(export.look()?, pending);

    let rendered = rendering.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(
        woken >= rendered.before_ns,
        "{woken} is before {rendered:?}"
    );
    let signalled = export.look()?.signalled_ns.ok_or("it has not signalled")?;
    assert!(rendered.contain(signalled), "{signalled}, {rendered:?}");
    assert!(compositor.idle(Use::Write)?);
    client.signals(&rendering.pending, &rendered)?;
    Ok(())
}

fn an_image_is_presented_with_several_semaphores() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut client = Guest::new(&gpu)?;
    let image = client.buffer()?;
    let compositor = gpu.take(image.resource_id())?;
    let works = [client.work(&gpu)?, client.work(&gpu)?, client.work(&gpu)?];

    let two = client.session.merge(works[0].cookie, works[1].cookie)?;
    let all = client.session.merge(two, works[2].cookie)?;
    client.session.import(&image, Access::WRITE, all)?;
    let sleeper = compositor.sleeper(Use::Read)?;
    let pending = Kept {
        fences: 3,
        signalled_ns: None,
    };
    assert_eq!(compositor.export(Use::Read)?.look()?, pending);

    let [first, second, third] = works;
    for done in [second, first] {
        let rendered = done.fence.signal()?;
        client.signals(&done.pending, &rendered)?;
        assert!(!compositor.idle(Use::Read)?, "one is not done");
    }
    let last = third.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= last.before_ns, "{woken} is before {last:?}");
    assert!(compositor.idle(Use::Write)?);
    Ok(())
}
