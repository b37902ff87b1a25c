//! The terminal's modes, and that each is undone however the workbench ends.
//!
//! Modes: raw input, alternate screen, mouse, bracketed paste, focus reports, keyboard
//! enhancement, hidden cursor. [`TermGuard`] sets them; they are undone when it is dropped,
//! by a panic on any thread (its hook runs before the one that prints the message), by
//! [`give_back`] before the process is aborted, by a signal that ends the process
//! ([`fatal`]), and around a stop by the shell's job control.
//!
//! What was said is on the alternate screen, and would be gone with it: where a fault ends the
//! workbench, it is printed on the screen of the shell.
//!
//! Invariant: nothing is drawn while the modes are not set. Drawing holds the lock that
//! undoing takes, so that a panic elsewhere cannot leave half a frame on the shell's screen.

use crate::io::fatal;
use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
    EnableFocusChange, EnableMouseCapture, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags,
    PushKeyboardEnhancementFlags,
};
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use ratatui::crossterm::{cursor, queue};
use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// The terminal that is held, for whoever ends the process from outside.
static HELD: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

/// Gives the terminal back where it is held, from any thread: nothing is drawn after this.
pub fn give_back() {
    // A clone: what follows must not run under this lock, since it may have to wait.
    let held = held().clone();
    if let Some(shared) = held {
        shared.leave_for_good();
    }
}

fn held() -> MutexGuard<'static, Option<Arc<Shared>>> {
    // It holds a whole value whatever its holder was doing.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync;

/// Which modes are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    pub mouse: bool,
    /// Ask for unambiguous keys; a terminal that cannot ignores it.
    pub keyboard: bool,
}

impl Modes {
    /// What undoes them, but for the raw input.
    fn leave_sequence(self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let _ = queue!(out, EndSynchronizedUpdate, ResetColor);
        if self.keyboard {
            let _ = queue!(out, PopKeyboardEnhancementFlags);
        }
        if self.mouse {
            let _ = queue!(out, DisableMouseCapture);
        }
        let _ = queue!(out, DisableFocusChange, DisableBracketedPaste);
        let _ = queue!(out, LeaveAlternateScreen, cursor::Show);
        out
    }
}

#[derive(Debug)]
struct Shared {
    modes: Modes,
    /// Whether the modes are set now.
    active: Mutex<bool>,
    /// The thread that draws: it may panic while it holds the lock.
    owner: ThreadId,
    /// What a fault must not take with it.
    said: Mutex<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, bool> {
        // The flag is valid whatever its holder was doing.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, active: &mut bool) -> io::Result<()> {
        fatal::hold(self.modes.leave_sequence())?;
        enable_raw_mode().inspect_err(|_| fatal::release())?;
        // From here on something is to be undone, whether or not all of it succeeds.
        *active = true;
        let mut out = io::stdout();
        queue!(
            out,
            EnterAlternateScreen,
            EnableBracketedPaste,
            EnableFocusChange
        )?;
        if self.modes.mouse {
            queue!(out, EnableMouseCapture)?;
        }
        if self.modes.keyboard {
            let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES;
            queue!(out, PushKeyboardEnhancementFlags(flags))?;
        }
        queue!(out, cursor::Hide)?;
        out.flush()
    }

    /// Each step is tried whatever became of the one before: there is nobody to tell.
    fn leave(&self) {
        let mut out = io::stdout();
        let _ = out.write_all(&self.modes.leave_sequence());
        let _ = out.flush();
        let _ = disable_raw_mode();
        fatal::release();
    }

    fn leave_for_good(&self) {
        if thread::current().id() == self.owner {
            // The owner may hold the lock itself; nobody else draws.
            if let Ok(mut active) = self.active.try_lock() {
                *active = false;
            }
            self.leave();
            return self.print_said();
        }
        let mut active = self.lock();
        if std::mem::take(&mut *active) {
            self.leave();
            self.print_said();
        }
    }

    /// Once, however many faults there are.
    fn print_said(&self) {
        let Ok(mut said) = self.said.try_lock() else {
            return;
        };
        let mut out = io::stdout();
        let _ = out.write_all(std::mem::take(&mut *said).as_bytes());
        let _ = out.flush();
    }
}

/// Holds the terminal in the workbench's modes.
pub struct TermGuard {
    shared: Arc<Shared>,
    previous_hook: Arc<Hook>,
    panicked: Receiver<String>,
}

impl TermGuard {
    /// Sets the modes and chains a panic hook that undoes them before the one there was speaks.
    ///
    /// # Errors
    /// Where the terminal refuses; what was set by then is undone.
    pub fn enter(modes: Modes) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            modes,
            active: Mutex::new(false),
            owner: thread::current().id(),
            said: Mutex::default(),
        });
        let (tell, panicked) = bounded(1);
        let previous_hook: Arc<Hook> = Arc::from(panic::take_hook());
        *held() = Some(Arc::clone(&shared));
        panic::set_hook(hook(Arc::clone(&previous_hook), tell));
        let guard = Self {
            shared,
            previous_hook,
            panicked,
        };
        // An error drops the guard, which undoes what was done.
        guard.shared.enter(&mut guard.shared.lock())?;
        Ok(guard)
    }

    /// Permission to draw, to be held while drawing; `None` while the modes are not set.
    pub fn permit(&self) -> Option<MutexGuard<'_, bool>> {
        Some(self.shared.lock()).filter(|active| **active)
    }

    /// Keeps `said`, to be printed where a fault ends the workbench.
    pub fn keep(&self, said: String) {
        *self
            .shared
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Undoes the modes, for a stop by job control.
    pub fn suspend(&self) {
        if std::mem::take(&mut *self.shared.lock()) {
            self.shared.leave();
        }
    }

    /// Sets the modes again, after a stop or when another program may have changed them.
    ///
    /// # Errors
    /// Where the terminal refuses.
    pub fn resume(&self) -> io::Result<()> {
        let mut active = self.shared.lock();
        if *active {
            // Stopped without notice: what was pushed must not be pushed twice.
            self.shared.leave();
        }
        self.shared.enter(&mut active)
    }

    /// Receives the message of a panic, on whatever thread.
    pub fn panicked(&self) -> &Receiver<String> {
        &self.panicked
    }
}

impl Drop for TermGuard {
    fn drop(&mut self) {
        // While this thread panics, its hook has already undone the modes, though it may not have
        // been able to note that; and a hook cannot be changed then: left where it is, it does no
        // harm.
        let panicking = thread::panicking();
        if !panicking {
            self.suspend();
        }
        *held() = None;
        if !panicking {
            let previous = Arc::clone(&self.previous_hook);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

fn hook(previous: Arc<Hook>, tell: Sender<String>) -> Box<Hook> {
    Box::new(move |info| {
        give_back();
        previous(info);
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        // A second panic has nothing to add.
        let _ = tell.try_send(message);
    })
}
