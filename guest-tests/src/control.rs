//! Calls between a guest's case and the program that plays the GPU: a line of JSON there, a line of
//! JSON back. What the calls are is not this file's business.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::event::{CONTROL_PORT, PORTS};

/// Why a call did not come back with an answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The channel is not there or broke.
    #[error("The control channel failed")]
    Io(#[from] std::io::Error),
    /// A line was not what was expected.
    #[error("The control channel carried something unexpected: {line}")]
    Format {
        /// The line.
        line: String,
        /// Why it is unexpected.
        source: serde_json::Error,
    },
    /// The other side ended.
    #[error("The other side of the control channel ended")]
    Closed,
    /// The other side did what was asked without success.
    #[error("The host side says: {0}")]
    Refused(String),
}

/// One side of the channel, whatever carries it.
#[derive(Debug)]
pub struct Control<R, W> {
    reader: BufReader<R>,
    writer: W,
}

impl Control<File, File> {
    /// The guest's side.
    ///
    /// # Errors
    /// [`ControlError::Io`] where the guest was started without the port.
    pub fn in_guest() -> Result<Self, ControlError> {
        let port = File::options()
            .read(true)
            .write(true)
            .open(Path::new(PORTS).join(CONTROL_PORT))?;
        Ok(Self::new(port.try_clone()?, port))
    }
}

impl<R: Read, W: Write> Control<R, W> {
    /// The channel over something that reads and something that writes.
    pub fn new(reader: R, writer: W) -> Self {
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`ControlError::Io`] when the channel broke.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), ControlError> {
        let mut line = serde_json::to_string(message).map_err(|source| ControlError::Format {
            line: String::new(),
            source,
        })?;
        line.push('\n');
        self.writer.write_all(line.as_bytes())?;
        self.writer.flush()?;
        Ok(())
    }

    /// Waits for one message; `None` when the other side ended.
    ///
    /// # Errors
    /// [`ControlError::Io`] when the channel broke, [`ControlError::Format`] for a message that is
    /// none.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match serde_json::from_str(&line) {
            Ok(message) => Ok(Some(message)),
            Err(source) => Err(ControlError::Format { line, source }),
        }
    }

    /// Sends a request and waits for its answer, which the other side sends as `Result<T, String>`.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::receive`], [`ControlError::Closed`] when the other side ended,
    /// and [`ControlError::Refused`] when it answers with an error.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        request: &impl Serialize,
    ) -> Result<T, ControlError> {
        self.send(request)?;
        let answer: Result<T, String> = self.receive()?.ok_or(ControlError::Closed)?;
        answer.map_err(ControlError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> [Control<UnixStream, UnixStream>; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [one, other].map(|end| Control::new(end.try_clone().unwrap(), end))
    }

    #[test]
    fn a_call_comes_back_with_its_answer() {
        let [mut guest, mut host] = pair();
        let playing = std::thread::spawn(move || {
            let request: Option<u32> = host.receive().unwrap();
            host.send(&Ok::<_, String>(request.unwrap_or(0).wrapping_add(1)))
                .unwrap();
        });
        assert_eq!(guest.call::<u32>(&41).unwrap(), 42);
        playing.join().unwrap();
    }

    #[test]
    fn a_refused_call_says_why() {
        let [mut guest, mut host] = pair();
        host.send(&Err::<u32, _>("no such buffer")).unwrap();
        let error = guest.call::<u32>(&1).unwrap_err();
        assert_eq!(error.to_string(), "The host side says: no such buffer");
    }

    #[test]
    fn the_end_of_the_other_side_is_told() {
        let [mut guest, host] = pair();
        drop(host);
        assert!(matches!(guest.receive::<u32>(), Ok(None)));
    }
}
