//! Where terminal events come from: a thread that reads the terminal, makes events of its
//! bytes, and stamps each with the time at which it arrived (the terminal itself sends none),
//! so that a slow frame never bends the rhythm of the typing.
//!
//! ```text
//!   terminal --bytes--> read --bytes, silence--> decode --sequence--> keys --Event--> channel
//! ```
//!
//! [`decode`] is a state machine to which bytes and time are arguments; [`keys`] knows what the
//! sequences of terminals mean; [`read`] is the system's part.

mod decode;
mod keys;
mod read;

pub use read::TerminalInput;

use crate::units::Micros;
use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::Event;
use std::io;
use std::thread;
use std::time::Instant;

/// Events that may wait; a thread that is further ahead waits itself.
const CAPACITY: usize = 1024;

/// A terminal event and when it arrived, in microseconds since the workbench began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    pub at_us: Micros,
    pub event: Event,
}

/// Something that yields terminal events one after another.
pub trait InputSource: Send + 'static {
    /// Waits for the next event.
    ///
    /// # Errors
    /// When there will be no more.
    fn next(&mut self) -> io::Result<Stamped>;
}

/// Starts the thread. Its channel closes after the source's error. The thread is not
/// joined: it waits in the terminal, and ends with the process or at its next event.
///
/// # Errors
/// Where no thread can be started.
pub fn spawn(mut source: impl InputSource) -> io::Result<Receiver<Stamped>> {
    let (sender, receiver) = bounded(CAPACITY);
    thread::Builder::new()
        .name("terminal-input".into())
        .spawn(move || forward(&mut source, &sender))?;
    Ok(receiver)
}

fn forward(source: &mut impl InputSource, sender: &Sender<Stamped>) {
    while let Ok(event) = source.next() {
        if sender.send(event).is_err() {
            return;
        }
    }
}

/// Time on the workbench's clock.
pub fn micros_since(epoch: Instant) -> Micros {
    Micros::try_from(epoch.elapsed().as_micros()).unwrap_or(Micros::MAX)
}
