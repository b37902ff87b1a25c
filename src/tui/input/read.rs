//! The terminal itself: waits until there are bytes or a deadline of the decoder's has passed.
//!
//! Invariant: nothing that can be read waits for something else to arrive. After each read the
//! terminal is asked again, and the decoder hears of silence only where there was nothing to
//! read, so that a process that was held up does not take late reading for late keys.

use super::decode::Decoder;
use super::{InputSource, Stamped, micros_since};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use std::io::{self, ErrorKind};
use std::time::Instant;

/// A terminal hands over at most 4,095 bytes at once.
const BUFFER_BYTES: usize = 4096;

/// Events from standard input, which is a terminal in raw mode.
pub struct TerminalInput {
    decoder: Decoder,
    epoch: Instant,
}

impl TerminalInput {
    /// `epoch` is the zero of the events' times.
    pub fn new(epoch: Instant) -> Self {
        Self {
            decoder: Decoder::default(),
            epoch,
        }
    }

    /// Waits for bytes and feeds them to the decoder, or tells it that there are none.
    fn wait(&mut self) -> io::Result<()> {
        let input = rustix::stdio::stdin();
        let now = micros_since(self.epoch);
        let timeout = self.decoder.deadline_us().map(|at| {
            let wait_us = at.saturating_sub(now);
            Timespec {
                tv_sec: i64::try_from(wait_us / 1_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(wait_us % 1_000_000).unwrap_or_default() * 1_000,
            }
        });
        let mut asked = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut asked, timeout.as_ref()) {
            Ok(0) => {
                self.decoder.silence(micros_since(self.epoch));
                return Ok(());
            }
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; BUFFER_BYTES];
        match read(input, &mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.decoder.feed(&bytes[..n], micros_since(self.epoch));
                Ok(())
            }
            // Where another program has set the terminal so, and the bytes went elsewhere.
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl InputSource for TerminalInput {
    fn next(&mut self) -> io::Result<Stamped> {
        loop {
            if let Some(event) = self.decoder.next() {
                return Ok(event);
            }
            self.wait()?;
        }
    }
}
