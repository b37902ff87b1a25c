//! When each shard was copied and when it was computed with, in one pass.
//!
//! Two threads wait for the ends of copies and of graphs in their order and take the time, so
//! that an end is known to within what waking a thread takes. Both streams go on from pass to
//! pass: the first copies of a pass were made in the one before.

use super::{Bench, Model, chain, class};
use nmos::oracle::{LayerOracle, Oracle};
use nmos::river::{Mark, Watcher};
use serde::Serialize;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Lines that are printed of a pass.
const LINES: usize = 16;

/// One pass.
#[derive(Debug, Serialize)]
pub struct Timeline {
    nodes: usize,
    pass_ms: f64,
    copies: Vec<End>,
    computes: Vec<End>,
}

/// When work on a shard ended, since the pass began.
#[derive(Clone, Copy, Debug, Serialize)]
struct End {
    shard: usize,
    ms: f64,
}

impl Bench {
    /// One pass each, after two that fill the window.
    pub(super) fn timelines(
        &self,
        model: &Model,
        oracle: &mut LayerOracle,
    ) -> anyhow::Result<Vec<Timeline>> {
        let mut found = Vec::new();
        for &nodes in &self.args.nodes {
            let tree = chain(nodes, model.n_vocab());
            let width = class(nodes);
            oracle.pass(&tree, width)?;
            let (copies, copied) = channel();
            let (computes, computed) = channel();
            let timeline = std::thread::scope(|scope| {
                let began = Instant::now();
                let copied = scope.spawn(move || ends(&copied, began));
                let computed = scope.spawn(move || ends(&computed, began));
                oracle.watch(Some(Watcher { copies, computes }));
                let passed = oracle.pass(&tree, width);
                let pass_ms = began.elapsed().as_secs_f64() * 1e3;
                oracle.watch(None);
                passed?;
                anyhow::Ok(Timeline {
                    nodes,
                    pass_ms,
                    copies: copied.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    computes: computed.join().unwrap_or_else(|panic| resume_unwind(panic)),
                })
            })?;
            timeline.print();
            found.push(timeline);
        }
        Ok(found)
    }
}

/// The ends of what is told of, each waited for.
fn ends(marks: &Receiver<Mark>, began: Instant) -> Vec<End> {
    marks
        .iter()
        .map(|mark| {
            mark.event.synchronize();
            End {
                shard: mark.shard.0,
                ms: began.elapsed().as_secs_f64() * 1e3,
            }
        })
        .collect()
}

impl Timeline {
    /// A shard's two ends, for some of them; the copy that was made a pass ago has none.
    fn print(&self) {
        println!(
            "timeline of a pass of {} nodes, {:.1} ms:",
            self.nodes, self.pass_ms
        );
        println!("  {:>5} {:>10} {:>10}", "shard", "copied ms", "used ms");
        for end in self
            .computes
            .iter()
            .step_by((self.computes.len() / LINES).max(1))
        {
            let copied = self
                .copies
                .iter()
                .find(|copy| copy.shard == end.shard && copy.ms <= end.ms);
            let copied = copied.map_or("before".to_owned(), |copy| format!("{:.1}", copy.ms));
            println!("  {:>5} {copied:>10} {:>10.1}", end.shard, end.ms);
        }
    }
}
