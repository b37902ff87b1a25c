//! Whether the terminal can do what the workbench draws with: move its cursor as ANSI says.
//!
//! `TERM` names it, and terminfo's database says what it can. An entry is one small file:
//!
//! ```text
//!   magic | 5 sizes | names | flags | (pad) | numbers | offsets of strings | strings
//! ```
//!
//! with numbers of 16 bits in little-endian order, but for the numbers of the newer form, which
//! have 32. Source: `term(5)`. A name that the database does not know is trusted: it is that of
//! a newer terminal, on a machine with an older database.

use std::path::PathBuf;

/// Place of `cup`, the movement of the cursor to a row and a column, among the strings.
const CURSOR_ADDRESS: usize = 10;

/// Names of none and of printing ones, where there is no database to say so.
const NAMES_OF_NONE: [&str; 14] = [
    "dumb",
    "unknown",
    "network",
    "dialup",
    "ethernet",
    "switch",
    "plugboard",
    "printer",
    "lpr",
    "tty33",
    "tty37",
    "glasstty",
    "emacs",
    "9term",
];

/// Why a terminal cannot show the workbench.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    #[error("TERM is not set")]
    NoName,
    #[error("TERM is '{0}'")]
    NoCursor(String),
}

/// Checks what `env` says of the terminal.
///
/// # Errors
/// A terminal that cannot move its cursor, or not as ANSI says.
pub fn check(env: impl Fn(&str) -> Option<String>) -> Result<(), Unfit> {
    let Some(name) = env("TERM").filter(|name| !name.is_empty()) else {
        return Err(Unfit::NoName);
    };
    let unfit = match entry(&name, env) {
        Some(bytes) => string(&bytes, CURSOR_ADDRESS)
            .is_some_and(|cup| !cup.is_some_and(|cup| cup.starts_with(b"\x1b["))),
        None => NAMES_OF_NONE.contains(&name.as_str()),
    };
    match unfit {
        true => Err(Unfit::NoCursor(name)),
        false => Ok(()),
    }
}

/// The database's entry for a name, if it has one.
fn entry(name: &str, env: impl Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let first = name.chars().next()?;
    // A name is no path.
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let own = env("TERMINFO").map(PathBuf::from);
    let home = env("HOME").map(|home| PathBuf::from(home).join(".terminfo"));
    let listed = env("TERMINFO_DIRS").unwrap_or_default();
    let listed = listed.split(':').filter(|dir| !dir.is_empty());
    let usual = [
        "/etc/terminfo",
        "/lib/terminfo",
        "/usr/share/terminfo",
        "/usr/lib/terminfo",
        "/usr/local/share/terminfo",
    ];
    let dirs = own.into_iter().chain(home);
    dirs.chain(listed.chain(usual).map(PathBuf::from))
        // The folder is the name's first letter, or its number.
        .flat_map(|dir| {
            [
                dir.join(first.to_string()),
                dir.join(format!("{:x}", u32::from(first))),
            ]
        })
        .find_map(|dir| std::fs::read(dir.join(name)).ok())
}

/// A string of an entry: `Some(None)` where it has none of that kind, `None` where the entry
/// cannot be read.
fn string(entry: &[u8], index: usize) -> Option<Option<&[u8]>> {
    let number = |at: usize| {
        let bytes = entry.get(at..at + 2)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let size = |i: usize| number(2 * i).map(usize::from);
    let number_bytes = match number(0)? {
        0o432 => 2,
        0o1036 => 4,
        _ => return None,
    };
    let (names, flags, numbers, strings) = (size(1)?, size(2)?, size(3)?, size(4)?);
    if index >= strings {
        return Some(None);
    }
    let flags_end = 12 + names + flags;
    let offsets = flags_end + flags_end % 2 + numbers * number_bytes;
    let offset = number(offsets + 2 * index)?;
    // The two highest mean "absent" and "cancelled".
    if offset >= 0xfffe {
        return Some(None);
    }
    Some(entry.get(offsets + 2 * strings + usize::from(offset)..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// An entry with one name, one flag, one number, and this for `cup`.
    fn entry_with(cup: Option<&str>, wide: bool) -> Vec<u8> {
        let names = b"x|a test\0";
        let table = cup.map_or_else(String::new, |cup| format!("{cup}\0"));
        let magic: u16 = if wide { 0o1036 } else { 0o432 };
        let strings = CURSOR_ADDRESS as u16 + 1;
        let header = [magic, names.len() as u16, 1, 1, strings, table.len() as u16];
        let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(names);
        bytes.push(1);
        bytes.resize(bytes.len() + bytes.len() % 2, 0);
        bytes.extend(vec![0; if wide { 4 } else { 2 }]);
        bytes.extend([0xff; 2 * CURSOR_ADDRESS]);
        bytes.extend(cup.map_or(0xffff_u16, |_| 0).to_le_bytes());
        bytes.extend(table.as_bytes());
        bytes
    }

    fn checked(name: &str, dir: &Path) -> Result<(), Unfit> {
        check(|variable| match variable {
            "TERM" => Some(name.to_owned()),
            "TERMINFO" => Some(dir.display().to_string()),
            _ => None,
        })
    }

    #[test]
    fn the_database_says_which_terminal_can_move_its_cursor() {
        let dir = tempfile::tempdir().unwrap();
        for (name, cup, fit) in [
            ("nmostest-ansi", Some("\x1b[%i%p1%d;%p2%dH"), true),
            ("nmostest-none", None, false),
            ("nmostest-vt52", Some("\x1bY%p1%' '%+%c%p2%' '%+%c"), false),
        ] {
            for (folder, wide) in [("n", false), ("6e", true)] {
                let folder = dir.path().join(folder);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), entry_with(cup, wide)).unwrap();
                assert_eq!(checked(name, dir.path()).is_ok(), fit, "{name}");
                fs::remove_file(folder.join(name)).unwrap();
            }
        }
        // Damaged, unknown, or no name of an entry: trusted.
        fs::create_dir_all(dir.path().join("n")).unwrap();
        let whole = entry_with(None, false);
        for length in [0, 1, 12, 20, 30] {
            fs::write(dir.path().join("n/nmostest"), &whole[..length]).unwrap();
            assert_eq!(checked("nmostest", dir.path()), Ok(()), "{length}");
        }
        assert_eq!(checked("nmostest-new", dir.path()), Ok(()));
        assert_eq!(checked("../n/nmostest", dir.path()), Ok(()));
    }

    #[test]
    fn no_name_and_dumb_need_no_database() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check(|_| None), Err(Unfit::NoName));
        assert_eq!(checked("", dir.path()), Err(Unfit::NoName));
        let dumb = checked("dumb", dir.path()).unwrap_err();
        assert_eq!(dumb.to_string(), "TERM is 'dumb'");
    }
}
