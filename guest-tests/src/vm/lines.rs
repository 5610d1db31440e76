//! Lines from a pipe, with a bound on how long the next one may take.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use super::child::readable;
use super::error::Error;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its end.
    Line(String),
    /// The other side closed the pipe.
    End,
    /// Nothing within the bound.
    Nothing,
}

/// The reading end of a pipe.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    unread: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            unread: Vec::new(),
        }
    }

    /// Waits for the next line. What is left at the end without a line's end is a line, too.
    pub(crate) fn next(&mut self, bound: Duration) -> Result<Next, Error> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end);
                let line = std::mem::replace(&mut self.unread, rest);
                // What was split off begins with the line's end.
                self.unread.drain(..1);
                return Ok(Next::Line(text(&line)));
            }
            if !readable(&[self.source.as_fd()], Some(bound))? {
                return Ok(Next::Nothing);
            }
            let mut buffer = [0; 4096];
            let count = self
                .source
                .read(&mut buffer)
                .map_err(|source| Error::system("Reading a pipe", source))?;
            if count == 0 {
                let last = std::mem::take(&mut self.unread);
                return Ok(if last.is_empty() {
                    Next::End
                } else {
                    Next::Line(text(&last))
                });
            }
            self.unread.extend(buffer.iter().take(count));
        }
    }
}

/// A terminal in between may have added carriage returns.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches('\r')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_come_one_by_one_whatever_the_pieces_are() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(reader);
        writer.write_all(b"one\r\ntwo\nthr").unwrap();
        assert_eq!(lines.next(LONG).unwrap(), Next::Line("one".into()));
        assert_eq!(lines.next(LONG).unwrap(), Next::Line("two".into()));
        assert_eq!(lines.next(SOON).unwrap(), Next::Nothing);
        writer.write_all(b"ee\n").unwrap();
        assert_eq!(lines.next(LONG).unwrap(), Next::Line("three".into()));
    }

    #[test]
    fn an_unfinished_last_line_is_not_lost() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(reader);
        writer.write_all(b"last").unwrap();
        drop(writer);
        assert_eq!(lines.next(LONG).unwrap(), Next::Line("last".into()));
        assert_eq!(lines.next(LONG).unwrap(), Next::End);
    }
}
