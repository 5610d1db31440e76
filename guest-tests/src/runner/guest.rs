//! Running the cases that live in a guest. A boot is expensive, so one guest runs as many as it can;
//! after a case that hangs or takes the guest with it, a fresh guest goes on with the rest.

use std::time::Duration;

use super::{AGAIN, GUEST_PROGRAM, IN_A_ROW, again, with_logs};
use crate::event::{Event, Order};
use crate::outcome::with_sources;
use crate::vm::{Daemon, DaemonOptions, Error, Guest, HostGpu, Lab, RunningGuest};

/// Longer than a guest takes to boot, even emulated twice.
const BOOT: Duration = Duration::from_secs(120);
/// Longer than any case takes, also one that waits for a deadline of the kernel (10 s).
const CASE: Duration = Duration::from_secs(120);

/// Runs these cases in as many guests as it takes.
pub(super) fn run(lab: &Lab, mut left: Vec<String>, without_gpu: bool, tell: &dyn Fn(&Event)) {
    let mut life: u32 = 0;
    let mut losses = Losses::default();
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
            losses: &mut losses,
            tell,
        }
        .live(without_gpu);
        life = life.saturating_add(1);
        if matches!(end, Ok(End::Again)) {
            continue;
        }
        let why = match end {
            Ok(_) => "The guest's program ended without it.".to_owned(),
            Err(error) => with_sources(&error),
        };
        if left.len() == before {
            // Another guest would not come further.
            let fail = Event::Fail {
                case: String::new(),
                detail: why,
                ms: 0,
            };
            if let Event::Fail { detail, .. } = with_logs(fail, &lab.logs) {
                fail_all(left, &detail, tell);
            }
            return;
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

/// The guests that the emulated host has lost.
#[derive(Default)]
struct Losses {
    all: u32,
    /// In which case the last one was; none while it booted.
    case: String,
    in_a_row: u32,
}

impl Losses {
    /// One more, in this case. Whether that may run again.
    fn may_run_again(&mut self, case: &str) -> bool {
        if self.case != case {
            case.clone_into(&mut self.case);
            self.in_a_row = 0;
        }
        self.all = self.all.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.all <= AGAIN && self.in_a_row <= IN_A_ROW
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_loses_its_guest_time_and_again_fails() {
        let mut losses = Losses::default();
        assert!(losses.may_run_again("maps"));
        assert!(losses.may_run_again("maps"));
        assert!(!losses.may_run_again("maps"));
        assert!(losses.may_run_again("waits"));
    }

    #[test]
    fn a_suite_that_loses_guests_everywhere_fails() {
        let mut losses = Losses::default();
        let allowed = (0..20).filter(|case| losses.may_run_again(&format!("case {case}")));
        assert_eq!(allowed.count(), 8);
    }
}
