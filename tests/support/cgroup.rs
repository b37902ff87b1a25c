//! Memory groups with an exact limit, versions 1 and 2, for tests and benchmarks.

use nmos::units::Bytes;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A control group with a limit of its own; gone when dropped.
pub struct Group(PathBuf);

impl Group {
    /// `None` where this process may not make one.
    pub fn new(limit: Bytes) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let find = |key: &str| own.lines().find_map(|l| Some(l.split_once(key)?.1));
        // Version 1 has a hierarchy for memory alone; in version 2 there is one for all.
        let (parent, file) = match find(":memory:") {
            Some(path) => (
                format!("/sys/fs/cgroup/memory{path}"),
                "memory.limit_in_bytes",
            ),
            None => (format!("/sys/fs/cgroup{}", find("0::")?), "memory.max"),
        };
        let dir = PathBuf::from(parent).join(format!("nmos-test-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Self(dir);
        fs::write(group.0.join(file), limit.0.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A command for `program`, which starts inside `group` if there is one.
pub fn command_in(group: Option<&Group>, program: &str) -> Command {
    let enter = group.map_or("", |_| "echo $$ > \"$TASKS\" || exit 3; ");
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{enter}exec \"$0\" \"$@\"")])
        .arg(program);
    if let Some(group) = group {
        command.env("TASKS", group.0.join("cgroup.procs"));
    }
    command
}
