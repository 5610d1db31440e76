//! `stile run`: the operations as a script has them, and `stile clock`.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks is null"
)]

use std::process::Command;

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use serde_json::Value;

use super::command::Stile;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a script of stile shares timelines with the host and watches them",
        run: timelines,
    },
    Case {
        name: "a script of stile raises counters and waits for them",
        run: counters,
    },
    Case {
        name: "a script of stile polls, uses the CPU, and joins what is pending",
        run: fences,
    },
    Case {
        name: "stile clock says the host's time",
        run: clock,
    },
];

const ETIMEDOUT: u32 = 110;
const SHARED: &str = "31313131-3131-3131-3131-313131313131";
const OFFERED: &str = "32323232323232323232323232323232";

/// Says a line, and hears this of it.
fn play(stile: &mut Stile, line: &str, event: &str, name: &str) -> crate::stage::Result<Value> {
    stile.say(line)?;
    stile.hear(event, name)
}

fn timelines() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut stile = Stile::start(&["run"])?;
    play(&mut stile, "timeline T", "timeline", "T")?;
    play(&mut stile, &format!("share T {SHARED}"), "share", "T")?;
    let host = gpu.take_timeline([0x31; 16])?;
    play(&mut stile, "watch there T 2 available", "watch", "there")?;
    play(
        &mut stile,
        "watch done T 2 signalled 30000",
        "watch",
        "done",
    )?;

    stile.say("create A")?;
    let buffer = gpu.take(stile.hears_of_buffer("A")?)?;
    let fence = buffer.begin_by_driver(Use::Write)?;
    let export = play(&mut stile, "export A read frame", "export", "frame")?;
    assert_eq!(export["state"], "pending");
    play(&mut stile, "to-point T 2 frame", "to-point", "T")?;
    let event = play(&mut stile, "event", "event", "there")?;
    assert_eq!(
        (&event["op"], &event["value"]),
        (&"TL_WATCH".into(), &2.into())
    );
    assert_eq!((host.point()?.available, host.point()?.signalled), (2, 0));
    let signalled = fence.signal()?;
    let event = play(&mut stile, "event", "event", "done")?;
    let told = event["time_ns"].as_u64().ok_or("it has no time")?;
    assert!(told >= signalled.before_ns, "{event}, {signalled:?}");
    play(&mut stile, "to-cookie T 2 again", "to-cookie", "again")?;
    stile.say("wait again")?;
    stile.hear("signalled", "again")?;

    play(&mut stile, "signal T 3", "signal", "T")?;
    assert_eq!(host.point()?.signalled, 3);
    play(&mut stile, "reset T", "reset", "T")?;
    assert_eq!(host.point()?.available, 0);
    play(&mut stile, "destroy T", "destroyed", "T")?;
    let offered = gpu.offer_timeline([0x32; 16])?;
    play(&mut stile, &format!("adopt U {OFFERED}"), "adopt", "U")?;
    play(&mut stile, "signal U 1", "signal", "U")?;
    assert_eq!(offered.point()?.signalled, 1);
    let binary = play(&mut stile, "timeline B binary signalled", "timeline", "B")?;
    assert_eq!(binary["binary"], true);
    play(&mut stile, "to-cookie B 0 b", "to-cookie", "b")?;
    // A point without a fence is refused, and the exit code says so.
    stile.say("to-cookie U 2 none")?;
    stile.ends(3)
}

fn counters() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut stile = Stile::start(&["run"])?;
    stile.say("create A")?;
    let host = gpu.take(stile.hears_of_buffer("A")?)?;
    play(&mut stile, "mem-wait five A 64 5 30000", "mem-wait", "five")?;
    play(
        &mut stile,
        "mem-wait never A 64 99 30000",
        "mem-wait",
        "never",
    )?;
    let raised = host.signal_memory(64, 6)?;
    let event = play(&mut stile, "event", "event", "five")?;
    assert_eq!(
        (&event["op"], &event["value"]),
        (&"MEM_WAIT".into(), &6.into())
    );
    let told = event["time_ns"].as_u64().ok_or("it has no time")?;
    assert!(told >= raised.before_ns, "{event}, {raised:?}");
    play(&mut stile, "cancel never", "cancelled", "never")?;

    let sleeper = host.memory_sleeper(64, 9, crate::stage::PATIENCE)?;
    play(&mut stile, "mem-signal A 64 9", "mem-signal", "A")?;
    sleeper.woken_ns()?;
    let counter = play(&mut stile, "counter A 64", "counter", "A")?;
    assert_eq!(counter["value"], 9);
    host.store(64, 12)?;
    play(
        &mut stile,
        "mem-wait twelve A 64 12 30000",
        "mem-wait",
        "twelve",
    )?;
    play(&mut stile, "event", "event", "twelve")?;
    play(&mut stile, "mem-wait late A 64 13 20", "mem-wait", "late")?;
    let event = play(&mut stile, "event", "event", "late")?;
    assert_eq!(event["errno"], ETIMEDOUT);
    stile.ends(3)
}

fn fences() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let takes_deadlines = gpu.takes_deadlines()?;
    let mut stile = Stile::start(&["run"])?;
    stile.say("create A")?;
    let host = gpu.take(stile.hears_of_buffer("A")?)?;
    let fence = host.begin_by_driver(Use::Write)?;
    let polled = play(&mut stile, "poll A read p", "poll", "p")?;
    assert_eq!(polled["state"], "pending");
    play(&mut stile, "export A write frame", "export", "frame")?;
    if takes_deadlines {
        play(&mut stile, "deadline frame 16", "deadline", "frame")?;
    }
    play(&mut stile, "snapshot A all", "snapshot", "all")?;
    let ring = format!("from-ring {} last", polled["ring"]);
    play(&mut stile, &ring, "from-ring", "last")?;
    let begun = play(&mut stile, "cpu-begin A read b", "cpu-begin", "b")?;
    assert_eq!(begun["state"], "pending");

    let signalled = fence.signal()?;
    stile.say("finish p")?;
    stile.hears_of_signal("p", &signalled)?;
    for cookie in ["all", "last"] {
        stile.say(&format!("wait {cookie}"))?;
        stile.hear("signalled", cookie)?;
    }
    stile.say("finish b")?;
    let begun = stile.hear("signalled", "b")?;
    assert_eq!(begun["errno"], 0);
    let ended = begun["done_ns"].as_u64().ok_or("it has no time")?;
    assert!(ended >= signalled.before_ns, "{begun}, {signalled:?}");
    play(&mut stile, "cpu-end A read e", "cpu-end", "e")?;
    stile.say("finish e")?;
    assert_eq!(stile.hear("signalled", "e")?["errno"], 0);
    stile.ends(0)
}

fn clock() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let before = gpu.clock_ns()?;
    let output = Command::new("stile").args(["--json", "clock"]).output()?;
    let after = gpu.clock_ns()?;
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |key: &str| told[key].as_u64().ok_or(format!("it has no {key}: {told}"));
    let (host, error) = (number("host_ns")?, number("error_ns")?);
    assert!(told["offset_ns"].is_i64(), "{told}");
    assert!(
        host.saturating_add(error) >= before && host.saturating_sub(error) <= after,
        "between {before} and {after}, it said {told}"
    );
    Ok(())
}
