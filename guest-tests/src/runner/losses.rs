//! How often what runs in guests may run again after the emulated host has lost its guest
//! (docs/adr/0006).

/// In all.
const AGAIN: u32 = 8;
/// One and the same. What loses its guest more often has another fault.
const IN_A_ROW: u32 = 2;

/// The guests that were lost.
#[derive(Debug, Default)]
pub struct Losses {
    all: u32,
    /// Where the last one was.
    case: String,
    in_a_row: u32,
}

impl Losses {
    /// One more, in this case; `""` for none. Whether that may run again.
    #[must_use]
    pub fn may_run_again(&mut self, case: &str) -> bool {
        if self.case != case {
            case.clone_into(&mut self.case);
            self.in_a_row = 0;
        }
        self.all = self.all.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.all <= AGAIN && self.in_a_row <= IN_A_ROW
    }

    /// A case has come to its end.
    pub(super) fn ended(&mut self) {
        self.in_a_row = 0;
    }
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
    fn a_case_that_came_to_its_end_begins_anew() {
        let mut losses = Losses::default();
        for _ in 0..3 {
            assert!(losses.may_run_again("maps"));
            losses.ended();
        }
    }

    #[test]
    fn a_suite_that_loses_guests_everywhere_fails() {
        let mut losses = Losses::default();
        let allowed = (0..20).filter(|case| losses.may_run_again(&format!("case {case}")));
        assert_eq!(allowed.count(), 8);
    }
}
