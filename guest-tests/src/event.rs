//! What happened to a case: one line of JSON each, from the guest to the runner through the virtio
//! port [`RESULTS_PORT`], and from the runner to whoever started it through its stdout.

use serde::{Deserialize, Serialize};

/// The virtio port that events leave the guest through. In the other direction it carries one
/// [`Order`], before the first event.
pub const RESULTS_PORT: &str = "stile.results";

/// The virtio port between the guest's cases and the program that plays the GPU.
pub const CONTROL_PORT: &str = "stile.control";

/// Where a guest finds its virtio ports, by name.
pub const PORTS: &str = "/dev/virtio-ports";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A case began.
    Start {
        /// The case's name.
        case: String,
    },
    /// A case did what it should.
    Pass {
        /// The case's name.
        case: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A case did not.
    Fail {
        /// The case's name.
        case: String,
        /// What went wrong, for a person.
        detail: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A case does not apply here.
    Skip {
        /// The case's name.
        case: String,
        /// Why not.
        detail: String,
    },
    /// A case has not ended, for a reason that is not its own, and runs again.
    Again {
        /// The case's name; none where the guest was not in one.
        case: String,
        /// Why.
        detail: String,
    },
    /// The guest's program ended; nothing comes after this.
    Exit {
        /// The exit status as a shell sees it.
        code: i32,
    },
}

impl Event {
    /// The event as a line, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Strings and numbers only: there is nothing in it that JSON has no place for.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Which cases to run, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The cases' names.
    pub cases: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_that_a_person_can_read() {
        let event = Event::Fail {
            case: "a fence".into(),
            detail: "two\nlines".into(),
            ms: 3,
        };
        let line = event.to_line();
        assert_eq!(
            line,
            r#"{"event":"fail","case":"a fence","detail":"two\nlines","ms":3}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn the_guests_first_process_can_write_an_exit_event_with_echo() {
        let event: Event = serde_json::from_str(r#"{"event":"exit","code":3}"#).unwrap();
        assert_eq!(event, Event::Exit { code: 3 });
    }
}
