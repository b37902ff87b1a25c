//! The loop: waits for input, signals, the engine and the clock, and draws when due.
//!
//! Invariants: input is looked at first and all of it before a frame is drawn; nothing here
//! waits for the engine; with nothing to do the thread sleeps in one `select`.

use super::app::{App, Effect};
use super::frame::FrameLimiter;
use super::input::{self, Stamped, TerminalInput, micros_since};
use super::signals::{self, SignalRequest, SignalSource};
use super::term::{Modes, TermGuard};
use super::{Panicked, WorkbenchOptions, require_terminal, view};
use crate::session::{Client, Event as EngineEvent};
use crate::telemetry::see_log;
use anyhow::{Context as _, anyhow};
use crossbeam_channel::{Receiver, after, never, select_biased};
use ratatui::Terminal;
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often the spinner turns while something is waited for.
const SPIN: Duration = Duration::from_millis(120);

/// Most messages of one kind that are taken before a frame is considered.
const BATCH: usize = 1024;

/// Where frames go, and the shell's job control.
pub trait Screen {
    fn draw(&mut self, app: &mut App) -> io::Result<()>;
    /// Forgets what is on the screen, so that the next frame draws all of it.
    fn clear(&mut self) -> io::Result<()>;
    /// Asks for a stop by job control; `false` where none is possible.
    fn request_stop(&mut self) -> io::Result<bool>;
    /// Gives the terminal back and stops until continued.
    fn stop(&mut self) -> io::Result<()>;
    /// Takes the terminal again.
    fn resume(&mut self) -> io::Result<()>;
}

/// What the loop listens to, besides the engine.
pub struct Sources {
    pub inputs: Receiver<Stamped>,
    pub signals: Receiver<SignalRequest>,
    pub panics: Receiver<String>,
}

/// Sets the terminal up, runs the loop, and undoes everything.
pub fn run(client: &Client, options: WorkbenchOptions) -> anyhow::Result<()> {
    require_terminal()?;
    let mut app = App::new(options.keymap, options.themes, &options.theme)?;
    app.mouse = options.mouse;
    if let Some(replay) = options.replay {
        app.set_replay(replay);
    }
    if let Some(recorder) = options.recorder {
        app.set_recorder(recorder);
    }
    let term = std::env::var("TERM").unwrap_or_default();
    let modes = Modes {
        mouse: options.mouse,
        keyboard: term != "linux",
    };
    let signals = SignalSource::new().context("cannot set signal handlers")?;
    let guard = TermGuard::enter(modes).context("cannot set up the terminal")?;
    let epoch = Instant::now();
    let sources = Sources {
        inputs: input::spawn(TerminalInput::new(epoch)).context("cannot start the input thread")?,
        signals: signals.requests().clone(),
        panics: guard.panicked().clone(),
    };
    let mut screen = TerminalScreen::new(guard)?;
    let result = drive(&mut app, &mut screen, client, sources, epoch);
    drop(screen);
    result?;
    match app.fatal {
        Some(error) => Err(anyhow!(error)),
        None => Ok(()),
    }
}

/// The loop itself, over any screen.
pub fn drive(
    app: &mut App,
    screen: &mut impl Screen,
    client: &Client,
    mut sources: Sources,
    epoch: Instant,
) -> anyhow::Result<()> {
    let mut events = client.events().clone();
    let mut frames = FrameLimiter::default();
    let mut next_spin = Instant::now() + SPIN;
    let mut stale = true;
    frames.request();
    loop {
        for input in sources.inputs.try_iter().take(BATCH) {
            app.input(&input.event, input.at_us);
            frames.request();
        }
        let now = Instant::now();
        if app.tick(micros_since(epoch)) {
            frames.request();
        }
        if app.is_waiting() && now >= next_spin {
            app.spinner = app.spinner.wrapping_add(1);
            next_spin = now + SPIN;
            frames.request();
        }
        for effect in app.take_effects() {
            match effect {
                // A session that has ended says so by its events.
                Effect::Send(intent) => {
                    let _ = client.send(intent);
                }
                Effect::Quit => return Ok(()),
                Effect::Redraw => {
                    screen.clear()?;
                    frames.request();
                }
                Effect::Suspend => {
                    if !screen.request_stop()? {
                        app.toast = Some("no shell to suspend to".into());
                    }
                }
            }
        }
        if frames.due_in(now).is_some_and(|wait| wait.is_zero()) {
            if std::mem::take(&mut stale) {
                app.set_snapshot(client.hub().snapshot());
            }
            screen.draw(app).context("cannot draw")?;
            frames.drawn(Instant::now());
        }

        let timer = sleep(app, &frames, next_spin, epoch);
        // The next frame takes the newest snapshot anyway: until then changes need not wake.
        let unchanged = never();
        let changed = if stale {
            &unchanged
        } else {
            client.hub().changed()
        };
        select_biased! {
            recv(sources.inputs) -> input => match input {
                Ok(input) => {
                    app.input(&input.event, input.at_us);
                    frames.request();
                }
                Err(_) => return Err(anyhow!("the terminal was closed")),
            },
            recv(sources.signals) -> request => match request {
                Ok(SignalRequest::End) => return Ok(()),
                Ok(SignalRequest::Stop) => screen.stop()?,
                Ok(SignalRequest::Continue) => {
                    screen.resume()?;
                    frames.request();
                }
                // Each frame asks for the size.
                Ok(SignalRequest::Resize) => frames.request(),
                Err(_) => sources.signals = never(),
            },
            recv(sources.panics) -> message => match message {
                Ok(message) => return Err(Panicked(message).into()),
                Err(_) => sources.panics = never(),
            },
            recv(events) -> event => {
                let now_us = micros_since(epoch);
                match event {
                    Ok(event) => {
                        app.engine(event, now_us);
                        for event in events.try_iter().take(BATCH) {
                            app.engine(event, now_us);
                        }
                    }
                    Err(_) => {
                        events = never::<EngineEvent>();
                        let why = format!("the engine has ended unexpectedly{}", see_log());
                        app.die(why, now_us);
                    }
                }
                frames.request();
            },
            recv(changed) -> _ => {
                stale = true;
                frames.request();
            },
            recv(timer) -> _ => {}
        }
    }
}

/// A channel that wakes the loop when the clock next matters.
fn sleep(
    app: &App,
    frames: &FrameLimiter,
    next_spin: Instant,
    epoch: Instant,
) -> Receiver<Instant> {
    let now = Instant::now();
    let frame = frames.due_in(now);
    let spin = app
        .is_waiting()
        .then(|| next_spin.saturating_duration_since(now));
    let replay = app
        .wake_us()
        .map(|at| (epoch + Duration::from_micros(at)).saturating_duration_since(now));
    match [frame, spin, replay].into_iter().flatten().min() {
        Some(wait) => after(wait),
        None => never(),
    }
}

/// Gathers a frame, and writes it only when it is whole.
#[derive(Default)]
struct FrameBuffer(Vec<u8>);

impl Write for FrameBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Unwinding from half a frame: the terminal has been given back already.
        if !std::thread::panicking() {
            let mut out = io::stdout().lock();
            out.write_all(&self.0)?;
            out.flush()?;
        }
        self.0.clear();
        Ok(())
    }
}

/// The real terminal. Fields drop in order: what writes goes before the guard.
struct TerminalScreen {
    terminal: Terminal<CrosstermBackend<FrameBuffer>>,
    guard: TermGuard,
    /// Length of what the guard keeps of the conversation.
    kept: usize,
}

impl TerminalScreen {
    fn new(guard: TermGuard) -> io::Result<Self> {
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(FrameBuffer::default()))?,
            guard,
            kept: 0,
        })
    }
}

impl Screen for TerminalScreen {
    fn draw(&mut self, app: &mut App) -> io::Result<()> {
        let Some(_permit) = self.guard.permit() else {
            return Ok(());
        };
        let length = app.talk.text_len();
        if std::mem::replace(&mut self.kept, length) != length {
            self.guard.keep(app.talk.text());
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            let area = frame.area();
            view::draw(frame.buffer_mut(), area, app);
        })?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Write::flush(self.terminal.backend_mut())
    }

    fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal for the cursor, and the answer would be taken by
        // the input thread: instead the frame before is forgotten and the screen wiped.
        self.terminal.swap_buffers();
        self.terminal.backend_mut().clear()
    }

    fn request_stop(&mut self) -> io::Result<bool> {
        let possible = signals::can_stop();
        if possible {
            signals::request_stop()?;
        }
        Ok(possible)
    }

    fn stop(&mut self) -> io::Result<()> {
        if signals::can_stop() {
            self.guard.suspend();
            signals::stop()?;
        }
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        self.guard.resume()?;
        self.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{EngineEnd, EngineHandle, Intent};
    use crate::tui::input::InputSource;
    use crate::tui::{DEFAULT_THEME, Keymap, ThemeLoader};
    use crate::typing::Edit;
    use crate::typing::MonotonicClock;
    use crossbeam_channel::{Sender, unbounded};
    use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
    use std::sync::Arc;

    /// Keeps a record of what it was asked for.
    #[derive(Default)]
    struct FakeScreen(Vec<&'static str>);

    impl FakeScreen {
        fn note(&mut self, what: &'static str) -> io::Result<()> {
            self.0.push(what);
            Ok(())
        }
    }

    impl Screen for FakeScreen {
        fn draw(&mut self, _: &mut App) -> io::Result<()> {
            self.note("draw")
        }
        fn clear(&mut self) -> io::Result<()> {
            self.note("clear")
        }
        fn request_stop(&mut self) -> io::Result<bool> {
            self.note("request stop").map(|()| true)
        }
        fn stop(&mut self) -> io::Result<()> {
            self.note("stop")
        }
        fn resume(&mut self) -> io::Result<()> {
            self.note("resume")
        }
    }

    /// A source that has this to say and then ends.
    struct FakeInput(std::vec::IntoIter<Event>);

    impl InputSource for FakeInput {
        fn next(&mut self) -> io::Result<Stamped> {
            let event = self.0.next().ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(Stamped { at_us: 0, event })
        }
    }

    struct Stage {
        app: App,
        screen: FakeScreen,
        client: Client,
        /// Kept, so that the session counts as running.
        engine: EngineEnd,
        sources: Sources,
        signal: Sender<SignalRequest>,
        panic: Sender<String>,
        _input: Sender<Stamped>,
    }

    fn stage() -> Stage {
        let (handle, engine) = EngineHandle::pair(Arc::new(MonotonicClock::new()));
        let (input, inputs) = unbounded();
        let (signal, signals) = unbounded();
        let (panic, panics) = unbounded();
        Stage {
            app: App::new(Keymap::default(), ThemeLoader::default(), DEFAULT_THEME).unwrap(),
            screen: FakeScreen::default(),
            client: handle.connect(),
            engine,
            sources: Sources {
                inputs,
                signals,
                panics,
            },
            signal,
            panic,
            _input: input,
        }
    }

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    fn run(stage: &mut Stage) -> anyhow::Result<()> {
        let sources = Sources {
            inputs: stage.sources.inputs.clone(),
            signals: stage.sources.signals.clone(),
            panics: stage.sources.panics.clone(),
        };
        drive(
            &mut stage.app,
            &mut stage.screen,
            &stage.client,
            sources,
            Instant::now(),
        )
    }

    #[test]
    fn all_input_is_taken_before_a_frame_and_reaches_the_session_in_order() {
        let mut stage = stage();
        let mut events: Vec<Event> = "many keys at once"
            .chars()
            .map(|c| key(KeyCode::Char(c), KeyModifiers::NONE))
            .collect();
        events.push(key(KeyCode::Enter, KeyModifiers::NONE));
        // The first stops the answer, the second quits.
        events.extend(vec![key(KeyCode::Char('c'), KeyModifiers::CONTROL); 2]);
        let (full, inputs) = unbounded();
        for event in events {
            full.send(Stamped { at_us: 0, event }).unwrap();
        }
        stage.sources.inputs = inputs;
        run(&mut stage).unwrap();
        assert!(stage.screen.0.is_empty(), "{:?}", stage.screen.0);
        let mut text = String::new();
        let mut enters = 0;
        for stamped in stage.engine.intents.try_iter() {
            match stamped.intent {
                Intent::Typing(event) => match event.edit {
                    Edit::Insert { text: t, .. } => text += &t,
                    Edit::Enter => enters += 1,
                    other => panic!("{other:?}"),
                },
                Intent::Stop => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((text.as_str(), enters), ("many keys at once", 1));
    }

    #[test]
    fn a_source_that_ends_is_a_closed_terminal() {
        let mut stage = stage();
        let events = vec![key(KeyCode::Char('a'), KeyModifiers::NONE)];
        stage.sources.inputs = input::spawn(FakeInput(events.into_iter())).unwrap();
        let error = run(&mut stage).unwrap_err();
        assert_eq!(error.to_string(), "the terminal was closed");
        assert_eq!(stage.app.prompt.text(), "a");
    }

    #[test]
    fn job_control_stops_resumes_and_draws_again() {
        let mut stage = stage();
        stage.signal.send(SignalRequest::Stop).unwrap();
        stage.signal.send(SignalRequest::Continue).unwrap();
        stage.signal.send(SignalRequest::End).unwrap();
        run(&mut stage).unwrap();
        let other: Vec<_> = stage.screen.0.iter().filter(|s| **s != "draw").collect();
        assert_eq!(other, [&"stop", &"resume"]);
    }

    #[test]
    fn a_panic_elsewhere_ends_the_loop_with_its_message() {
        let mut stage = stage();
        stage.panic.send("index out of range".into()).unwrap();
        let error = run(&mut stage).unwrap_err();
        let panicked = error.downcast_ref::<Panicked>().unwrap();
        assert_eq!(panicked.0, "index out of range");
    }
}
