//! Whatever a guest sends can be read, or is refused: as a command, as a submission, and as the
//! submission of a command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stile_wire::gpu::{Command, Request};
use stile_wire::sync::Steps;

fuzz_target!(|bytes: &[u8]| {
    cut(bytes);
    if let Ok(Request {
        command: Ok(Command::Submit3d { payload }),
        ..
    }) = Request::decode(bytes)
    {
        cut(payload);
    }
});

/// Every operation that is read is encoded to something that reads the same.
fn cut(payload: &[u8]) {
    for step in Steps::new(payload).flatten() {
        if let Ok(op) = step.op {
            let bytes = op.encode(step.ring_idx, step.tag);
            let again = Steps::new(&bytes).next();
            assert_eq!(again, Some(Ok(step)), "{bytes:?}");
        }
    }
}
