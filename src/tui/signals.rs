//! Signals as messages: ending (SIGTERM, SIGHUP, SIGINT), the shell's job control (SIGTSTP,
//! SIGCONT), and another size of the window (SIGWINCH).

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalRequest {
    End,
    /// Leave the terminal alone, then [`stop`].
    Stop,
    /// The shell has brought the program back.
    Continue,
    /// The window has another size.
    Resize,
}

/// Receives signals until it is dropped; from then on those that end do so at once.
pub struct SignalSource {
    requests: Receiver<SignalRequest>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    dropped: Arc<AtomicBool>,
}

impl SignalSource {
    /// # Errors
    /// Where the handlers cannot be set.
    pub fn new() -> io::Result<Self> {
        // A slow end of the engine can be cut short: its signal then acts as by default.
        let dropped = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&dropped))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT, SIGWINCH])?;
        let handle = signals.handle();
        let (sender, requests) = bounded(16);
        let thread = thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let request = match signal {
                        SIGTSTP => SignalRequest::Stop,
                        SIGCONT => SignalRequest::Continue,
                        SIGWINCH => SignalRequest::Resize,
                        _ => SignalRequest::End,
                    };
                    if sender.send(request).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            requests,
            handle,
            thread: Some(thread),
            dropped,
        })
    }

    pub fn requests(&self) -> &Receiver<SignalRequest> {
        &self.requests
    }
}

impl Drop for SignalSource {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.dropped.store(true, Ordering::Relaxed);
    }
}

/// Whether a shell is there that could bring the program back. In its session leader's own
/// group (started by a terminal or a container directly) a stop would be for good.
pub fn can_stop() -> bool {
    getsid(None).is_ok_and(|session| session != getpgrp())
}

/// Sends the stop signal to the whole job, as the terminal does for Ctrl-Z in its ordinary
/// mode; this program's own comes back as [`SignalRequest::Stop`].
pub fn request_stop() -> io::Result<()> {
    Ok(kill_current_process_group(Signal::TSTP)?)
}

/// Stops until the shell continues the program.
pub fn stop() -> io::Result<()> {
    signal_hook::low_level::emulate_default_handler(SIGTSTP)
}
