//! Running the cases that live in a guest. A boot is expensive, so one guest runs as many as it can;
//! after a case that hangs or takes the guest with it, a fresh guest goes on with the rest.

use std::time::Duration;

use super::{GUEST_PROGRAM, Losses, again, with_logs};
use crate::event::{Event, Order};
use crate::outcome::with_sources;
use crate::vm::{Daemon, DaemonOptions, Error, Guest, HostGpu, Lab, RunningGuest};

/// Longer than a guest takes to boot, even emulated twice.
const BOOT: Duration = Duration::from_secs(120);
/// Longer than any case takes, also one that waits for a deadline of the kernel (10 s).
const CASE: Duration = Duration::from_secs(120);

/// What fails where a guest comes to its end outside of a case, and not by powering off.
const NO_CASE: &str = "a guest powers off once its cases have ended, and not before";

/// Runs these cases in as many guests as it takes.
pub(super) fn run(
    lab: &Lab,
    mut left: Vec<String>,
    without_gpu: bool,
    losses: &mut Losses,
    tell: &dyn Fn(&Event),
) {
    let mut life: u32 = 0;
    while !left.is_empty() {
        let before = left.len();
        let lab = match lab.life(&format!("guest-{life}")) {
            Ok(lab) => lab,
            Err(error) => return fail_all(left, &with_sources(&error), tell),
        };
        let end = Life {
            lab: &lab,
            left: &mut left,
            running: None,
            losses,
            tell,
        }
        .live(without_gpu);
        life = life.saturating_add(1);
        let stands_still = left.len() == before;
        let why = match end {
            Ok(End::Again) => continue,
            Ok(End::Told) if !stands_still => continue,
            Ok(End::Told) => "The guest's program ended without it.".to_owned(),
            Err(error) => with_sources(&error),
        };
        let fail = Event::Fail {
            case: NO_CASE.to_owned(),
            detail: why,
            ms: 0,
        };
        let fail = with_logs(fail, &lab.logs);
        if !stands_still {
            tell(&fail);
        } else if let Event::Fail { detail, .. } = fail {
            // Another guest would not come further.
            return fail_all(left, &detail, tell);
        }
    }
}

fn fail_all(cases: Vec<String>, detail: &str, tell: &dyn Fn(&Event)) {
    for case in cases {
        tell(&Event::Fail {
            case,
            detail: detail.to_owned(),
            ms: 0,
        });
    }
}

/// How a life ends that is no error of its own.
enum End {
    /// All that belongs to a case has been told.
    Told,
    /// The emulated host has lost the guest, and it goes on in another one.
    Again,
}

/// One guest's life, with the daemon and the GPU's player that belong to it.
struct Life<'a> {
    lab: &'a Lab,
    /// The cases that have not ended yet.
    left: &'a mut Vec<String>,
    running: Option<String>,
    losses: &'a mut Losses,
    tell: &'a dyn Fn(&Event),
}

impl Life<'_> {
    /// Lives until the guest ends or hangs. An error that belongs to a case is told as that case's
    /// failure.
    fn live(mut self, without_gpu: bool) -> Result<End, Error> {
        let mut guest = Guest::new(self.lab).program(&[GUEST_PROGRAM]);
        // Held until the guest has ended.
        let parts;
        if !without_gpu {
            let daemon = Daemon::start(self.lab, &DaemonOptions::default())?;
            let host_gpu = HostGpu::start(self.lab, &daemon.bridge)?;
            guest = guest.gpu(&daemon).control(&host_gpu);
            parts = Some((daemon, host_gpu));
        } else {
            parts = None;
        }
        let mut guest = guest.start()?;
        guest.send(&order_line(&Order {
            cases: self.left.clone(),
        }))?;
        let end = self.listen(&mut guest);
        guest.kill();
        drop(parts);
        if let Err(lost @ Error::Lost(_)) = &end {
            let case = self.running.as_deref().unwrap_or_default();
            if self.losses.may_run_again(case) {
                (self.tell)(&again(case, &lost.to_string()));
                return Ok(End::Again);
            }
        }
        let Some(case) = self.running.take() else {
            return end.map(|()| End::Told);
        };
        let detail = match end {
            Ok(()) => "The guest powered off in the middle of it.".to_owned(),
            Err(error) => with_sources(&error),
        };
        self.ended(&Event::Fail {
            case,
            detail,
            ms: 0,
        });
        Ok(End::Told)
    }

    fn listen(&mut self, guest: &mut RunningGuest) -> Result<(), Error> {
        let mut bound = BOOT;
        while let Some(line) = guest.next_line(bound)? {
            let Ok(event) = serde_json::from_str::<Event>(&line) else {
                eprintln!("The guest said something unexpected: {line}");
                continue;
            };
            bound = CASE;
            match &event {
                Event::Start { case } => {
                    self.running = Some(case.clone());
                    (self.tell)(&event);
                }
                Event::Exit { .. } => {
                    // All is said; it may still take its time to power off.
                    guest.wait(BOOT)?;
                    return Ok(());
                }
                _ => self.ended(&event),
            }
        }
        Ok(())
    }

    fn ended(&mut self, event: &Event) {
        self.running = None;
        self.losses.ended();
        if let Event::Pass { case, .. } | Event::Fail { case, .. } | Event::Skip { case, .. } =
            event
            && let Some(index) = self.left.iter().position(|name| name == case)
        {
            self.left.remove(index);
        }
        (self.tell)(&with_logs(event.clone(), &self.lab.logs));
    }
}

fn order_line(order: &Order) -> String {
    // Strings only: there is nothing in it that JSON has no place for.
    serde_json::to_string(order).unwrap_or_default()
}
