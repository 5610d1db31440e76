//! The guest's part of `cargo xtask demo`: scenes in which the host works on the guest's buffers and
//! the guest waits with fences of its own kernel. Every moment is told as a line of JSON on the
//! results port.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the numbers are the demo's own"
)]

mod player;
mod tell;

use std::error::Error;
use std::process::ExitCode;

use guest_tests::gpu::{Clock, Gpu};
use stile_guest::{Access, Session};

use player::{Job, Player};
use tell::{Line, Teller};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut teller = Teller::open()?;
    let gpu = Gpu::in_guest()?;
    let clock = Clock::compare(&gpu)?;
    let mut player = Player::new(Session::find()?, &gpu, clock);

    let scene = "Frames: the host draws one after the other, the guest waits for each";
    for frame in 1_u64..=5 {
        let name = format!("frame {frame}");
        player.play(&mut teller, scene, &[Job::work(&name, 1, 60 + frame * 10)])?;
    }
    player.play(
        &mut teller,
        "One ring: the host signals in the wrong order, the guest sees them in order",
        &[
            Job::work("long job", 2, 500),
            Job::work("short job", 2, 150),
        ],
    )?;
    player.play(
        &mut teller,
        "Two rings: independent of each other",
        &[
            Job::work("long job", 3, 500),
            Job::work("short job", 4, 150),
        ],
    )?;
    player.play(
        &mut teller,
        "Readers do not wait for readers, writers do",
        &[
            Job::work("guest reads", 5, 300)
                .read_by_host()
                .guest(Access::READ),
            Job::work("guest writes", 6, 300)
                .read_by_host()
                .guest(Access::WRITE),
        ],
    )?;
    player.play(
        &mut teller,
        "Eight buffers at once, each on its ring",
        &(0..8)
            .map(|job| {
                Job::work(
                    &format!("buffer {}", job + 1),
                    10 + job,
                    420 - u64::from(job) * 45,
                )
            })
            .collect::<Vec<_>>(),
    )?;
    player.play(
        &mut teller,
        "Idle buffers: nothing to wait for",
        &[
            Job::idle("idle 1", 20),
            Job::idle("idle 2", 20),
            Job::idle("idle 3", 20),
        ],
    )?;
    player.play(
        &mut teller,
        "The host hangs: the deadline answers, and the status says so",
        &[
            Job::stuck("stuck job", 30),
            Job::work("another ring", 31, 200),
        ],
    )?;

    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    teller.tell(&Line::End {
        clock_error_ns: clock.error_ns() / 2 + 1,
        guest_kernel: release.trim(),
    })?;
    Ok(())
}
