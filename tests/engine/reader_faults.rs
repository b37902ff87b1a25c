//! What the river does when reads fail: short, late, broken once, broken for good; and what it
//! reads on demand.

use nmos::io::{Arena, BLOCK, BlockIo, Completion, PreadReader, ReadRequest, Region};
use nmos::model::{GgmlType, TensorInfo};
use nmos::river::{
    Demand, ExpertTable, Extent, HostSupply, Plan, Reads, RiverError, Setup, Shard, ShardIdx,
    WeightMemory, WeightSupply,
};
use nmos::telemetry::Hub;
use nmos::vocabulary::ShardPart;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SHARDS: usize = 6;
const SHARD: usize = 8 * BLOCK;
/// The shard whose reads are disturbed: one that streams.
const BAD: usize = 3;

/// How reads go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Every read of more than one block yields one block.
    Short,
    /// The first read of `BAD` fails.
    Once,
    /// Every read of `BAD` fails until the switch is turned off.
    Lasting,
    /// The newest read in flight ends first.
    Reordered,
    /// The reader breaks down at `BAD`.
    Panic,
}

/// What the test sees of a reader that the river owns.
#[derive(Default)]
struct Watch {
    lasting: AtomicBool,
    failed: AtomicUsize,
    /// Offsets in the order in which reads ended.
    ended: Mutex<Vec<u64>>,
}

struct FaultyReader {
    plain: PreadReader,
    waiting: Vec<ReadRequest>,
    fault: Fault,
    watch: Arc<Watch>,
}

impl FaultyReader {
    fn fails(&self, request: &ReadRequest) -> bool {
        let in_bad = request.offset as usize / SHARD == BAD;
        in_bad
            && match self.fault {
                Fault::Once => self.watch.failed.load(Ordering::SeqCst) == 0,
                Fault::Lasting => self.watch.lasting.load(Ordering::SeqCst),
                _ => false,
            }
    }
}

impl BlockIo<ReadRequest> for FaultyReader {
    fn depth(&self) -> usize {
        4
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn submit(&mut self, request: ReadRequest) -> io::Result<()> {
        self.waiting.push(request);
        Ok(())
    }

    fn complete(&mut self) -> io::Result<Completion> {
        let index = match self.fault {
            Fault::Reordered => self.waiting.len() - 1,
            _ => 0,
        };
        let request = self.waiting.remove(index);
        self.watch.ended.lock().unwrap().push(request.offset);
        let in_bad = request.offset as usize / SHARD == BAD;
        assert!(self.fault != Fault::Panic || !in_bad, "breaks down");
        if self.fails(&request) {
            self.watch.failed.fetch_add(1, Ordering::SeqCst);
            let result = Err(io::Error::from_raw_os_error(5));
            return Ok(Completion { request, result });
        }
        if self.fault == Fault::Short && request.into.len() > BLOCK {
            let part = ReadRequest {
                into: request.into.part(0, BLOCK),
                ..request.clone()
            };
            self.plain.submit(part)?;
            let result = self.plain.complete()?.result;
            return Ok(Completion { request, result });
        }
        self.plain.submit(request)?;
        self.plain.complete()
    }

    fn name(&self) -> &'static str {
        "faulty"
    }
}

/// A file of shards, each byte of which tells its block, and a river over it.
struct Bench {
    /// Removed with the bench.
    dir: tempfile::TempDir,
    supply: HostSupply,
    watch: Arc<Watch>,
}

impl Bench {
    fn new(fault: Fault) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let bytes: Vec<u8> = (0..SHARDS * SHARD).map(byte_at).collect();
        std::fs::write(&path, bytes).unwrap();
        let shards: Vec<Shard> = (0..SHARDS)
            .map(|i| Shard {
                layer: None,
                part: ShardPart::Attention,
                rows: 0..0,
                extents: vec![Extent {
                    file: 0,
                    offset: (i * SHARD) as u64,
                    len: SHARD,
                    at: 0,
                }],
                tensors: Vec::new(),
                bytes: SHARD,
            })
            .collect();
        // The first stays, all others stream, and two fit the ring.
        let plan = Plan {
            pinned: (0..SHARDS).map(|i| i == 0).collect(),
            leaves: vec![false; SHARDS],
            ring_bytes: 2 * SHARD,
            pinned_bytes: SHARD,
            streamed_bytes: (SHARDS - 1) * SHARD,
        };
        let watch = Arc::new(Watch::default());
        watch.lasting.store(true, Ordering::SeqCst);
        let reader = FaultyReader {
            plain: PreadReader::default(),
            waiting: Vec::new(),
            fault,
            watch: Arc::clone(&watch),
        };
        let supply = HostSupply::start(Setup {
            files: vec![path],
            shards,
            plan,
            reads: Reads {
                io: Box::new(reader),
                bytes: SHARD,
            },
            memory: WeightMemory::Host,
            hub: Hub::new(),
        });
        Self {
            dir,
            supply: supply.unwrap(),
            watch,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("weights")
    }

    /// One pass over all shards, whose bytes must be the file's own.
    fn pass(&mut self) -> Result<(), RiverError> {
        self.supply.river().begin_pass()?;
        for i in 0..SHARDS {
            let region = self.supply.take(ShardIdx(i))?;
            check(i, &region);
            self.supply.give(ShardIdx(i));
        }
        self.supply.river().end_pass()
    }
}

fn byte_at(i: usize) -> u8 {
    // A prime number of values, so that no two shards are alike.
    u8::try_from((i / BLOCK * 31 + i % 7) % 251).unwrap()
}

fn check(shard: usize, region: &Region) {
    let mut bytes = vec![0; SHARD];
    region.read(&mut bytes);
    let first = shard * SHARD;
    let wrong = (0..SHARD).find(|&i| bytes[i] != byte_at(first + i));
    assert_eq!(wrong, None, "of shard {shard}");
}

#[test]
fn bytes_are_right_without_faults() {
    let mut bench = Bench::new(Fault::None);
    for _ in 0..3 {
        bench.pass().unwrap();
    }
    assert_eq!(bench.watch.failed.load(Ordering::SeqCst), 0);
}

#[test]
fn short_reads_go_on_where_they_stopped() {
    let mut bench = Bench::new(Fault::Short);
    for _ in 0..3 {
        bench.pass().unwrap();
    }
    let offsets = bench.watch.ended.lock().unwrap().clone();
    // Each shard took a read a block, in order.
    let blocks: Vec<_> = (0..SHARD / BLOCK).map(|i| (i * BLOCK) as u64).collect();
    let of_first: Vec<_> = offsets.into_iter().filter(|&o| o < SHARD as u64).collect();
    assert_eq!(of_first, blocks);
}

#[test]
fn reads_may_end_in_any_order() {
    let mut bench = Bench::new(Fault::Reordered);
    for _ in 0..3 {
        bench.pass().unwrap();
    }
    let ended = bench.watch.ended.lock().unwrap().clone();
    assert!(
        !ended[..SHARDS].is_sorted(),
        "in order after all: {ended:?}"
    );
}

#[test]
fn one_failed_read_is_tried_again_unseen() {
    let mut bench = Bench::new(Fault::Once);
    bench.pass().unwrap();
    bench.pass().unwrap();
    assert_eq!(bench.watch.failed.load(Ordering::SeqCst), 1);
}

#[test]
fn a_lasting_failure_ends_the_pass_and_the_next_one_works_when_it_is_gone() {
    let mut bench = Bench::new(Fault::Lasting);
    for failures in [2, 4] {
        let text = bench.pass().unwrap_err().to_string();
        assert!(text.contains(&bench.path().display().to_string()), "{text}");
        let offset = format!("offset {}", BAD * SHARD);
        assert!(text.contains(&offset), "{text}");
        assert!(text.contains("Input/output error"), "{text}");
        // Each pass tried it twice.
        assert_eq!(bench.watch.failed.load(Ordering::SeqCst), failures);
    }
    bench.watch.lasting.store(false, Ordering::SeqCst);
    bench.pass().unwrap();
    bench.pass().unwrap();
}

#[test]
fn a_file_cut_short_is_named_and_works_again_when_it_is_as_it_was() {
    let mut bench = Bench::new(Fault::None);
    bench.pass().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(bench.path())
        .unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    // In the middle of a block of the shard.
    let len = BAD * SHARD + BLOCK + 100;
    file.set_len(len as u64).unwrap();
    let text = bench.pass().unwrap_err().to_string();
    assert!(text.contains(&bench.path().display().to_string()), "{text}");
    let lengths = format!("was {} bytes long and is {len} now", whole.len());
    assert!(text.contains(&lengths), "{text}");
    std::fs::write(bench.path(), &whole).unwrap();
    file.set_modified(mtime).unwrap();
    bench.pass().unwrap();
    bench.pass().unwrap();
}

#[test]
fn a_file_written_to_during_a_pass_spoils_that_pass() {
    let bench = Bench::new(Fault::None);
    bench.supply.river().begin_pass().unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(bench.path())
        .unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    file.set_modified(later).unwrap();
    let text = bench.supply.river().end_pass().unwrap_err().to_string();
    assert!(text.contains("has been written to"), "{text}");
}

#[test]
fn a_file_put_in_the_place_of_the_one_in_use_is_noticed() {
    let mut bench = Bench::new(Fault::None);
    bench.pass().unwrap();
    let other = bench.dir.path().join("other");
    std::fs::copy(bench.path(), &other).unwrap();
    std::fs::rename(&other, bench.path()).unwrap();
    let text = bench.pass().unwrap_err().to_string();
    assert!(text.contains("replaced by another file"), "{text}");
    std::fs::remove_file(bench.path()).unwrap();
    let text = bench.pass().unwrap_err().to_string();
    assert!(text.contains("is no longer there"), "{text}");
}

#[test]
fn a_river_with_a_failure_under_way_can_be_dropped() {
    let mut bench = Bench::new(Fault::Lasting);
    assert!(bench.pass().is_err());
    drop(bench);
}

#[test]
fn a_reader_that_breaks_down_ends_every_pass() {
    let mut bench = Bench::new(Fault::Panic);
    for _ in 0..2 {
        let text = bench.pass().unwrap_err().to_string();
        assert!(text.contains("the reading thread has ended"), "{text}");
    }
}

/// Experts of odd lengths at an odd offset, in the same file as the shards.
const EXPERTS: u64 = 30;
const EXPERT: usize = 5000;
const FIRST_EXPERT: u64 = 3 * BLOCK as u64 + 992;

fn table() -> ExpertTable {
    let table = ExpertTable::of(&TensorInfo {
        name: "blk.0.ffn_up_exps.weight".into(),
        ty: GgmlType::F32,
        dims: [1250, 1, EXPERTS, 1],
        n_dims: 3,
        file: 0,
        offset: FIRST_EXPERT,
        bytes: EXPERTS * EXPERT as u64,
    });
    table.unwrap()
}

fn is_expert(id: i32, region: &Region) -> bool {
    let mut bytes = vec![0; EXPERT];
    region.read(&mut bytes);
    let first = FIRST_EXPERT as usize + id as usize * EXPERT;
    (0..EXPERT).all(|i| bytes[i] == byte_at(first + i))
}

/// Demands these experts, each to memory of its own; they must be the file's.
fn demand(bench: &mut Bench, ids: &[i32]) -> Result<(), RiverError> {
    let table = table();
    let demands: Vec<_> = ids
        .iter()
        .map(|&id| {
            let expert = table.expert(id)?;
            let len = table.slice(expert).len;
            let into = Arena::new(len).unwrap().region(0, len);
            let table = &table;
            Ok(Demand {
                table,
                experts: expert..=expert,
                into,
            })
        })
        .collect::<Result<_, RiverError>>()?;
    bench.supply.demand(&demands)?;
    for (demand, &id) in demands.iter().zip(ids) {
        let slice = table.slices(&demand.experts);
        let own = demand.into.part(slice.skip, slice.bytes);
        assert!(is_expert(id, &own), "expert {id}");
    }
    Ok(())
}

#[test]
fn experts_are_read_by_id_in_the_middle_of_a_pass() {
    let mut bench = Bench::new(Fault::None);
    for pass in 0..3 {
        bench.supply.river().begin_pass().unwrap();
        for i in 0..SHARDS {
            let region = bench.supply.take(ShardIdx(i)).unwrap();
            // More than are read at a time, neighbours and strangers, in any order.
            let ids: Vec<_> = (0..EXPERTS as i32).map(|n| (n * 7 + pass) % 30).collect();
            demand(&mut bench, &ids).unwrap();
            demand(&mut bench, &[29, 0]).unwrap();
            demand(&mut bench, &[]).unwrap();
            check(i, &region);
            bench.supply.give(ShardIdx(i));
        }
        bench.supply.river().end_pass().unwrap();
    }
    let demanded = bench.supply.river().counters().demanded_bytes();
    assert!(demanded > (3 * SHARDS * 32 * EXPERT) as u64);
}

#[test]
fn in_memory_laid_out_as_the_file_a_neighbour_keeps_its_bytes() {
    let mut bench = Bench::new(Fault::None);
    let table = table();
    let last = table.slice(table.expert(29).unwrap());
    // From the first expert's first block on.
    let first_block = table.slice(table.expert(0).unwrap()).offset;
    let len = (last.offset - first_block) as usize + last.len;
    let memory = Arena::new(len).unwrap().region(0, len);
    let own = |id: i32| {
        let slice = table.slice(table.expert(id).unwrap());
        let at = (slice.offset - first_block) as usize;
        (at, slice)
    };
    for id in [4, 6, 5, 3, 7, 28, 29] {
        let (at, slice) = own(id);
        let expert = table.expert(id).unwrap();
        let demand = Demand {
            table: &table,
            experts: expert..=expert,
            into: memory.part(at, slice.len),
        };
        bench.supply.demand(&[demand]).unwrap();
        if id == 5 {
            // Read between two that were there: all three are whole.
            for id in 4..=6 {
                let (at, slice) = own(id);
                let bytes = memory.part(at + slice.skip, slice.bytes);
                assert!(is_expert(id, &bytes), "expert {id}");
            }
        }
    }
}

#[test]
fn an_expert_that_there_is_not_and_one_that_cannot_be_read_end_the_pass_alone() {
    let mut bench = Bench::new(Fault::None);
    bench.pass().unwrap();
    let text = demand(&mut bench, &[0, 30]).unwrap_err().to_string();
    assert!(text.contains("expert 30 of blk.0.ffn_up_exps"), "{text}");

    bench.supply.river().begin_pass().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(bench.path())
        .unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    let expert = table().expert(9).unwrap();
    let slice = table().slice(expert);
    file.set_len(slice.offset).unwrap();
    let text = demand(&mut bench, &[1, 9, 2]).unwrap_err().to_string();
    assert!(text.contains(&bench.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("offset {}", slice.offset)), "{text}");
    assert!(bench.supply.river().end_pass().is_err(), "the file is cut");

    std::fs::write(bench.path(), &whole).unwrap();
    file.set_modified(mtime).unwrap();
    bench.pass().unwrap();
    demand(&mut bench, &[1, 9, 2]).unwrap();
    bench.pass().unwrap();
}
