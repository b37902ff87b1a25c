//! Asking the system to read files before they are used.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::Path;

/// Lets the system read all of a file into its page cache, without waiting for that. A file that
/// cannot be opened is left to whoever uses it.
pub fn read_ahead(path: &Path) {
    if let Ok(file) = File::open(path) {
        // Advice: refused, the file is read when it is needed.
        let _ = fadvise(&file, 0, None, Advice::WillNeed);
    }
}
