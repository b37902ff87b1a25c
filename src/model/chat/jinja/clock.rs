//! `strftime_now`: the time as C's `strftime` writes it, which Python's calls.

use chrono::NaiveDateTime;
use std::fmt::Write as _;

/// What the directives in `format` are at `now`. What is no directive stays as it is.
pub(super) fn strftime(now: NaiveDateTime, format: &str) -> String {
    const KNOWN: &str = "aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyYP";
    let mut out = String::with_capacity(format.len() * 2);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (before, directive) = rest.split_at(at);
        out.push_str(before);
        let flags = directive[1..]
            .chars()
            .take_while(|c| "-_0^".contains(*c))
            .count();
        let name = directive[1 + flags..].chars().next();
        let length = 1 + flags + name.map_or(0, char::len_utf8);
        let (directive, later) = directive.split_at(length);
        rest = later;
        match name {
            Some('%') => out.push('%'),
            Some('f') => out.push_str("000000"),
            // Local time has no zone here.
            Some('z' | 'Z') => {}
            Some(name) if KNOWN.contains(name) && flags <= 1 => {
                let capitals = directive.contains('^');
                let plain = directive.replace('^', "");
                let mut piece = String::new();
                // All of these are known to chrono.
                let written = write!(piece, "{}", now.format(&plain));
                let piece = written.map_or(directive, |()| &piece);
                match capitals {
                    true => out.push_str(&piece.to_uppercase()),
                    false => out.push_str(piece),
                }
            }
            _ => out.push_str(directive),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    #[test]
    fn times_are_written_as_c_does() {
        let day = NaiveDate::from_ymd_opt(2026, 3, 5).unwrap();
        let now = day.and_hms_opt(9, 5, 7).unwrap();
        for (format, right) in [
            ("%d %b %Y", "05 Mar 2026"),
            (
                "%A, %B %-d, %Y %H:%M:%S",
                "Thursday, March 5, 2026 09:05:07",
            ),
            (
                "%e|%_d|%I %p|%j|%y|%u|%U|%^a",
                " 5| 5|09 AM|064|26|4|09|THU",
            ),
            (
                "%x %X|%c|%D|%F|%T",
                "03/05/26 09:05:07|Thu Mar  5 09:05:07 2026|03/05/26|2026-03-05|09:05:07",
            ),
            ("100%|%%|%q|%Z|%f|é%", "100%|%|%q||000000|é%"),
            ("%", "%"),
        ] {
            assert_eq!(strftime(now, format), right, "{format}");
        }
    }
}
