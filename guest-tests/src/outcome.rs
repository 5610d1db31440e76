//! How a case ends, on either side: errors, skips and failed assertions become events.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::event::Event;

/// How a case ends. Any error fails it, [`Skip`] skips it, and a failed assertion fails it, too.
pub type Outcome = Result<(), Box<dyn Error>>;

/// The error with which a case says that it does not apply here.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Skip {}

/// Runs a case and makes an event of how it ends.
pub(crate) fn attempt(case: String, run: impl FnOnce() -> Outcome) -> Event {
    let begin = Instant::now();
    let outcome = catching_panics(run);
    let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(()) => Event::Pass { case, ms },
        Err(error) => match error.downcast::<Skip>() {
            Ok(skip) => Event::Skip {
                case,
                detail: skip.0,
            },
            Err(error) => Event::Fail {
                case,
                detail: with_sources(error.as_ref()),
                ms,
            },
        },
    }
}

/// A panic becomes an error that says where it was.
fn catching_panics(run: impl FnOnce() -> Outcome) -> Outcome {
    let place = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&place);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
    // A case owns all that it touches, so nothing half-changed is seen after a panic.
    let result = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(usual);
    result.unwrap_or_else(|payload| {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let place = place.unwrap_or_else(|| "somewhere".to_owned());
        Err(format!("{} (at {place})", message(payload.as_ref())).into())
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("The case panicked.")
}

/// The error and what caused it, one a line.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str("\nbecause: ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
