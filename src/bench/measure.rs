//! All traces, one after the other, through one session.

use super::play::Player;
use super::{Chosen, Halt, Mode, Order, Pace, Row, Run};
use crate::session::EngineHandle;
use crate::telemetry::Snapshot;
use crossbeam_channel::Receiver;
use std::io;
use std::time::Instant;

/// How the traces are run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many times faster than it was typed a trace is replayed.
    pub speed: f64,
    /// Run each trace cold too.
    pub baseline: bool,
}

/// Who wants to know how it goes.
pub trait Watcher {
    /// When to call [`Watcher::tick`].
    fn ticks(&self) -> Receiver<Instant> {
        crossbeam_channel::never()
    }

    /// What the session is doing.
    fn tick(&mut self, _now: &Snapshot) {}

    /// Run `number` of `count`, from 1, begins.
    fn begins(&mut self, _number: usize, _count: usize, _trace: &Chosen, _mode: Mode) {}

    /// Something that the session says and that stops nothing.
    fn note(&mut self, _note: &str) {}

    /// A trace is done.
    fn row(&mut self, row: &Row) -> io::Result<()>;
}

/// How a benchmark ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every trace was run.
    Complete,
    /// The user stopped it.
    Interrupted,
    /// The session could not go on; its own words.
    Engine(String),
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// In the order they were run; fewer than the traces where it did not end complete.
    pub rows: Vec<Row>,
    pub end: End,
}

/// Runs every trace and, if asked for, its baseline. Fails only where the watcher does.
pub fn measure(
    engine: &EngineHandle,
    traces: &[Chosen],
    plan: Plan,
    pace: &dyn Pace,
    interrupts: &Receiver<()>,
    watcher: &mut dyn Watcher,
) -> io::Result<Measured> {
    let mut player = Player {
        engine,
        pace,
        speed: plan.speed,
        interrupts: interrupts.clone(),
        watcher,
    };
    let mut rows = Vec::new();
    let mut halt = player.wait_until_ready().err();
    for (index, chosen) in traces.iter().enumerate() {
        if halt.is_some() {
            break;
        }
        let (mut typed, mut cold) = (None, None);
        let order = order(index, plan.baseline);
        for &mode in modes(order) {
            let runs = modes(order).len();
            let number = index * runs + usize::from(typed.is_some() || cold.is_some()) + 1;
            player
                .watcher
                .begins(number, traces.len() * runs, chosen, mode);
            match player.play(chosen, mode) {
                Ok(run) => *slot(mode, &mut typed, &mut cold) = Some(run),
                Err(reason) => {
                    halt = Some(reason);
                    break;
                }
            }
        }
        // A run whose baseline was cut off still stands; a baseline alone says nothing.
        if let Some(typed) = typed {
            let row = Row::new(chosen, plan.speed, order, typed, cold);
            player.watcher.row(&row)?;
            rows.push(row);
        }
    }
    let end = match halt {
        None => End::Complete,
        Some(Halt::Interrupted) => End::Interrupted,
        Some(Halt::Engine(why)) => End::Engine(why),
    };
    Ok(Measured { rows, end })
}

/// Every second trace is run cold first.
fn order(index: usize, baseline: bool) -> Order {
    match (baseline, index % 2) {
        (false, _) => Order::TypedOnly,
        (true, 0) => Order::TypedFirst,
        (true, _) => Order::ColdFirst,
    }
}

fn modes(order: Order) -> &'static [Mode] {
    match order {
        Order::TypedOnly => &[Mode::Typed],
        Order::TypedFirst => &[Mode::Typed, Mode::Cold],
        Order::ColdFirst => &[Mode::Cold, Mode::Typed],
    }
}

fn slot<'a>(
    mode: Mode,
    typed: &'a mut Option<Run>,
    cold: &'a mut Option<Run>,
) -> &'a mut Option<Run> {
    match mode {
        Mode::Typed => typed,
        Mode::Cold => cold,
    }
}
