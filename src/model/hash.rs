//! SHA-256 of files, in lower-case hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Read at a time: large enough that hashing, not the disk, sets the pace.
const CHUNK_BYTES: usize = 1 << 20;

/// Hashes the whole file at `path`. `done` is told how many bytes have been read so far.
pub fn sha256_file(path: &Path, done: &mut dyn FnMut(u64)) -> io::Result<String> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, &mut File::open(path)?, done)?;
    Ok(hex(hasher))
}

/// Hashes all that is left in `reader`.
pub(super) fn feed(
    hasher: &mut Sha256,
    reader: &mut dyn Read,
    done: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0;
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                total += n as u64;
                done(total);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

pub(super) fn hex(hasher: Sha256) -> String {
    use std::fmt::Write;
    hasher.finalize().iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_vector_and_its_progress() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        let mut seen = Vec::new();
        let sha = sha256_file(&path, &mut |n| seen.push(n)).unwrap();
        assert_eq!(
            sha,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(seen, [3]);
    }
}
