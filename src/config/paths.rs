//! Where files of the user live.

use directories::ProjectDirs;
use std::path::PathBuf;

/// The user's directories, as the platform has them (XDG on Linux).
#[derive(Clone, Debug)]
pub struct Paths {
    dirs: ProjectDirs,
}

impl Paths {
    /// `None` where there is no home directory.
    pub fn for_user() -> Option<Self> {
        ProjectDirs::from("", "", "nmos").map(|dirs| Self { dirs })
    }

    /// Where the configuration file and the user's themes are looked for.
    pub fn config_dir(&self) -> PathBuf {
        self.dirs.config_dir().to_owned()
    }

    /// The configuration file, whether it exists or not.
    pub fn config_file(&self) -> PathBuf {
        self.dirs.config_dir().join("config.toml")
    }

    /// The log file where none is named.
    pub fn log_file(&self) -> PathBuf {
        // Only Linux has a directory for state; elsewhere local data is the nearest thing.
        let state = self.dirs.state_dir();
        state
            .unwrap_or_else(|| self.dirs.data_local_dir())
            .join("nmos.log")
    }
}
