//! The workbench's side: what this executable is when it is started again. Its session follows a
//! script.

use nmos::ggml::{self, GgmlType};
use nmos::oracle::OpenError;
use nmos::session::{EngineEnd, EngineHandle, Event, Intent, RequestEvent, SessionError};
use nmos::telemetry::{AnswerEnd, AnswerStats, Phase};
use nmos::tui::{self, ColorDepth, WorkbenchOptions};
use nmos::typing::{Edit, MonotonicClock};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::process::ExitCode;
use std::sync::Arc;

pub const CHILD: &str = "NMOS_TUI_CHILD";
/// Where the child says that its log is.
pub const LOG: &str = "NMOS_TUI_LOG";

/// What the executable does instead of testing, where `CHILD` is set.
pub fn run() -> ExitCode {
    // No dump of this process's memory: tests have it die.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).unwrap();
    // As the program itself begins.
    nmos::cli::report_faults();
    let log = std::env::var_os(LOG).unwrap_or_else(|| "/the/log".into());
    nmos::telemetry::log_is_at(log.into());
    let mut options = WorkbenchOptions::default();
    options.themes.depth = ColorDepth::TrueColor;
    // A recorder that fails is a panic on the workbench's own thread.
    options.recorder = Some(Box::new(|event| match &event.edit {
        Edit::Insert { text, .. } if text == "!" => panic!("the recorder broke"),
        _ => Ok(()),
    }));
    match tui::run(scripted(), options) {
        Ok(()) => {
            println!("ended: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("ended: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A session that follows a script by the words of the prompt: `long` answers until it is
/// stopped, `panic` panics, `abort` aborts, `overflow` needs more stack than there is, `fatal`
/// ends; anything else is answered at once, with how many characters there were.
fn scripted() -> EngineHandle {
    EngineHandle::start(Arc::new(MonotonicClock::new()), script)
}

fn script(end: EngineEnd) {
    let mut prompt = String::new();
    let mut asked = None;
    let done = |end| {
        RequestEvent::Done(Box::new(AnswerStats {
            end,
            tokens: 2,
            ..AnswerStats::default()
        }))
    };
    end.clients.tell_all(Event::Ready);
    for stamped in &end.intents {
        let event = match stamped.intent {
            Intent::Typing(event) => event,
            Intent::Stop => {
                let id = asked.unwrap();
                end.clients
                    .tell(stamped.client, id, done(AnswerEnd::Stopped));
                continue;
            }
            Intent::Shutdown => return,
            _ => continue,
        };
        match event.edit {
            Edit::Insert { text, .. } => prompt += &text,
            Edit::Enter => {
                let text = std::mem::take(&mut prompt);
                let id = *asked.insert(end.clients.next_request());
                let say = |event| end.clients.tell(stamped.client, id, event);
                say(RequestEvent::Submitted {
                    prompt: text.clone(),
                });
                end.hub.update(|s| s.phase = Phase::Answering);
                say(RequestEvent::Text("The answer ".into()));
                say(RequestEvent::Text("has begun.".into()));
                assert!(!text.contains("panic"), "the script says so");
                if text.contains("abort") {
                    abort_in_ggml();
                }
                if text.contains("overflow") {
                    assert_eq!(deeper(1), 0);
                }
                if text.contains("fatal") {
                    let gone = SessionError::Load(
                        OpenError::Io(std::io::Error::other("model.gguf is gone")).into(),
                    );
                    end.clients.tell_all(Event::Fatal(Arc::new(gone)));
                } else if !text.contains("long") {
                    let counted = format!(" {} characters.", text.chars().count());
                    say(RequestEvent::Text(counted));
                    say(done(AnswerEnd::EndOfText));
                    end.hub.update(|s| s.phase = Phase::Idle);
                }
            }
            _ => {}
        }
    }
}

/// Multiplies what does not fit, which ggml refuses by aborting the process.
fn abort_in_ggml() {
    ggml::init().unwrap();
    let context = ggml::Context::new(4, 0);
    let matrix = |rows| context.tensor(GgmlType::F32, &[rows, 2]);
    let _ = context.mul_mat(&matrix(4), &matrix(3));
}

/// Uses up the stack.
fn deeper(level: usize) -> usize {
    let kept = std::hint::black_box([level; 1024]);
    if kept[0] == usize::MAX {
        return 0;
    }
    deeper(kept[level % 1024] + 1) + kept[0]
}
