//! The `stile` command, as a script in the guest uses it.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks is null"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use serde_json::Value;
use stile_guest::OpCode;

use crate::stage::{Guest, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "stile info says what the device can do",
        run: info,
    },
    Case {
        name: "stile export prints the fence's way from the host",
        run: export,
    },
    Case {
        name: "stile import holds the host's users of the second buffer",
        run: import,
    },
    Case {
        name: "stile wait waits for all of its buffers",
        run: wait,
    },
    Case {
        name: "stile run plays a script",
        run: script,
    },
    Case {
        name: "a stile that is killed in the middle leaves nothing behind",
        run: killed,
    },
];

/// A running `stile`, and the words with it.
pub(super) struct Stile {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Stile {
    pub(super) fn start(words: &[&str]) -> Result<Self> {
        let mut child = Command::new("stile")
            .arg("--json")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("it has no stdout")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    pub(super) fn say(&mut self, line: &str) -> Result {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// The next event, which has to be of this kind and about this.
    pub(super) fn hear(&mut self, event: &str, name: &str) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let value: Value =
            serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        assert_eq!(
            (&value["event"], &value["name"]),
            (&event.into(), &name.into()),
            "{line}"
        );
        Ok(value)
    }

    /// The next event is a new buffer. Gives its resource id.
    pub(super) fn hears_of_buffer(&mut self, name: &str) -> Result<u32> {
        let resource = self.hear("buffer", name)?["resource"].as_u64();
        Ok(resource.ok_or("it has no resource id")?.try_into()?)
    }

    /// The next event is a fence that has signalled, without an error, at the host's time.
    pub(super) fn hears_of_signal(&mut self, name: &str, host: &guest_tests::gpu::Times) -> Result {
        let event = self.hear("signalled", name)?;
        assert_eq!(event["errno"], 0, "{event}");
        let at = event["signalled_ns"].as_u64().ok_or("it has no time")?;
        assert!((host.before_ns..=host.after_ns).contains(&at), "{event}");
        Ok(())
    }

    /// It ends by itself.
    pub(super) fn ends(mut self, code: i32) -> Result {
        drop(self.input.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest)?;
        assert_eq!(rest, "");
        assert_eq!(self.child.wait()?.code(), Some(code));
        Ok(())
    }
}

impl Drop for Stile {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn info() -> Outcome {
    let output = Command::new("stile").args(["--json", "info"]).output()?;
    assert!(output.status.success(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    let (context, said) = (guest.session.context(), &value["stile_sync"]);
    assert_eq!((&said["id"], &said["version"]), (&30.into(), &1.into()));
    assert_eq!(said["max_cookies"], context.capset().max_cookies.get());
    assert_eq!(said["max_rings"], 64);
    let offered = OpCode::ALL.into_iter().filter(|op| context.offers(*op));
    let offered: Vec<_> = offered.map(OpCode::name).collect();
    assert_eq!(said["operations"], Value::from(offered));
    assert_eq!(said["max_events"], context.capset().max_events.get());
    assert_eq!(value["params"]["host_visible"], true);

    let text = Command::new("stile").arg("info").output()?;
    let text = String::from_utf8(text.stdout)?;
    assert!(text.contains("capset 30, version 1"), "{text}");
    Ok(())
}

fn export() -> Outcome {
    for onto in [
        &["export", "--line"][..],
        &["export", "--line", "--onto", "--write"],
    ] {
        let gpu = Gpu::in_guest()?;
        let mut stile = Stile::start(onto)?;
        let host = gpu.take(stile.hears_of_buffer("A")?)?;
        let fence = host.begin_by_driver(Use::Write)?;
        stile.say("")?;
        let event = stile.hear("export", "a")?;
        assert_eq!(event["state"], "pending", "{event}");
        let signalled = fence.signal()?;
        stile.hears_of_signal("a", &signalled)?;
        stile.ends(0)?;
    }
    Ok(())
}

fn import() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut stile = Stile::start(&["import", "--line", "--hold"])?;
    let host_a = gpu.take(stile.hears_of_buffer("A")?)?;
    let host_b = gpu.take(stile.hears_of_buffer("B")?)?;
    let fence = host_a.begin_by_driver(Use::Write)?;
    stile.say("")?;
    assert_eq!(stile.hear("export", "a")?["state"], "pending");
    assert_eq!(stile.hear("import", "a")?["errno"], 0);
    assert!(!host_b.idle(Use::Read)?);
    let signalled = fence.signal()?;
    stile.hears_of_signal("a", &signalled)?;
    assert!(host_b.idle(Use::Write)?);
    stile.ends(0)
}

fn wait() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut stile = Stile::start(&["wait", "--line", "--buffers", "2"])?;
    let one = gpu.take(stile.hears_of_buffer("1")?)?.begin(Use::Write)?;
    let two = gpu.take(stile.hears_of_buffer("2")?)?.begin(Use::Write)?;
    stile.say("")?;
    stile.hear("export", "1")?;
    stile.hear("export", "2")?;
    stile.hear("merge", "1+2")?;
    two.signal()?;
    let signalled = one.signal()?;
    stile.hears_of_signal("1+2", &signalled)?;
    stile.ends(0)
}

fn script() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut stile = Stile::start(&["run"])?;
    stile.say("create A 64k   # a buffer")?;
    let host = gpu.take(stile.hears_of_buffer("A")?)?;
    let fence = host.begin_by_driver(Use::Write)?;
    stile.say("export A read frame onto")?;
    assert_eq!(stile.hear("export", "frame")?["state"], "pending");
    stile.say("guest A read")?;
    assert_eq!(stile.hear("guest", "A")?["state"], "busy");
    let signalled = fence.signal()?;
    stile.say("finish frame")?;
    stile.hears_of_signal("frame", &signalled)?;
    for (line, event, name) in [
        ("guest A read", "guest", "A"),
        ("fill A 7", "filled", "A"),
        ("check A 7", "checked", "A"),
        ("drop frame", "dropped", "frame"),
        ("close A", "closed", "A"),
    ] {
        stile.say(line)?;
        stile.hear(event, name)?;
    }
    // A line that is wrong is told, and the exit code is its own.
    stile.say("import A write frame")?;
    stile.ends(2)
}

fn killed() -> Outcome {
    let gpu = Gpu::in_guest()?;
    gpu.reconnect()?;
    let witness = Guest::new(&gpu)?;
    let before = gpu.descriptors()?;
    let mut stile = Stile::start(&["export", "--line"])?;
    let host = gpu.take(stile.hears_of_buffer("A")?)?;
    let fence = host.begin_by_driver(Use::Write)?;
    stile.say("")?;
    assert_eq!(stile.hear("export", "a")?["state"], "pending");
    stile.child.kill()?;
    stile.child.wait()?;
    // Its fence stays with the host until it signals; then nothing of it is left.
    fence.signal()?;
    gpu.await_descriptors(&before)?;
    witness.settle()
}
