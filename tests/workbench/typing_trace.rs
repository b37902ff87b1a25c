//! Traces from disk: real ones load and replay to their hash, broken ones say what is wrong.

use nmos::typing::{
    Composer, Edit, Fault, RecordError, RecordText, Trace, TraceError, TraceRecorder, TypingEvent,
};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const TRACES: [&str; 8] = [
    "ca-w13-18d61fce-0",
    "ca-w21-8ead784e-10",
    "ca-w29-641b8258-8",
    "ca-w58-c4e852c4-0",
    "syn-arenahard-v2-17753fdb6f",
    "syn-dolly-15k-728c80081d",
    "syn-qmsum-2cc01076a3",
    "syn-vicuna-bench-cc72f9934f",
];

fn path_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/traces")
        .join(format!("{name}.jsonl"))
}

fn final_text(events: &[TypingEvent]) -> String {
    let mut composer = Composer::new();
    for event in events {
        composer.apply(&event.edit).unwrap();
    }
    composer.take()
}

#[test]
fn the_traces_load_and_cover_every_kind_of_edit() {
    let (mut deletes, mut moves, mut pastes, mut backspaces) = (0, 0, 0, 0);
    for name in TRACES {
        let trace = Trace::load(&path_of(name)).unwrap();
        assert_eq!(trace.header().id, name);
        let text = final_text(trace.events());
        assert_eq!(text.chars().count(), trace.header().final_chars, "{name}");
        for event in trace.events() {
            match event.edit {
                Edit::Delete { .. } => deletes += 1,
                Edit::Cursor { .. } => moves += 1,
                Edit::Backspace => backspaces += 1,
                Edit::Insert { paste, .. } => pastes += u32::from(paste),
                Edit::Enter => {}
            }
        }
    }
    assert!(deletes >= 2 && moves >= 3 && pastes == 2 && backspaces > 20);
}

// "Hi": 3639efcd08abb273b1619e82e78c29a7df02c1051b1820e99fc395dcaa3326b8
const HEADER: &str = r#"{"version":1,"id":"t","final_chars":2,"final_sha256":"3639efcd08abb273b1619e82e78c29a7df02c1051b1820e99fc395dcaa3326b8"}"#;
const H: &str = r#"{"t_us":0,"kind":"insert","text":"H"}"#;
const I: &str = r#"{"t_us":150000,"kind":"insert","text":"i"}"#;
const ENTER: &str = r#"{"t_us":400000,"kind":"enter"}"#;

fn parse(lines: &[&str]) -> Result<Trace, (usize, Fault)> {
    Trace::parse(lines.join("\n").as_bytes())
}

#[test]
fn a_trace_may_come_from_another_system() {
    let plain = parse(&[HEADER, H, I, ENTER]).unwrap();
    let unknown = HEADER.replace("\"id\"", "\"mood\":[{\"x\":1}],\"id\"");
    for bytes in [
        format!("{HEADER}\r\n{H}\r\n{I}\r\n{ENTER}\r\n\r\n\n  \n"),
        format!("\u{feff}{HEADER}\n{H}\n{I}\n{ENTER}"),
        format!("{unknown}\n{H}\n{I}\n{ENTER}\n"),
        format!("{}\n{H}\n{I}\n{ENTER}\n", HEADER.replace("efcd", "EFCD")),
    ] {
        let trace = Trace::parse(bytes.as_bytes()).unwrap();
        assert_eq!(trace.events(), plain.events());
    }
}

#[test]
fn each_fault_is_named_with_its_line() {
    let late = ENTER.replace("400000", "100000");
    let far = I.replace("150000", "999999999999999");
    let version = HEADER.replace("\"version\":1", "\"version\":2");
    let huge = HEADER.replace("\"final_chars\":2", "\"final_chars\":999999999999");
    let hash = HEADER.replace("3639efcd", "0000efcd");
    let short_hash = HEADER.replace("3639efcd", "");
    let count = HEADER.replace("\"final_chars\":2", "\"final_chars\":3");
    let cursor = r#"{"t_us":160000,"kind":"cursor","pos":3}"#;
    let delete = r#"{"t_us":160000,"kind":"delete","start":0,"end":3}"#;
    let reversed = r#"{"t_us":160000,"kind":"delete","start":2,"end":1}"#;
    let cases: &[(&[&str], usize, &str)] = &[
        (&[""], 1, "the file is empty"),
        (&["hello"], 1, "not a trace header"),
        (&["{}", H, ENTER], 1, "no field 'version'"),
        (
            &["{\"version\":1}", H, ENTER],
            1,
            "missing field `final_chars`",
        ),
        (&[&version, H, I, ENTER], 1, "version 2 is not supported"),
        (&[&huge, H, I, ENTER], 1, "final_chars is 999999999999"),
        (&[&short_hash, H, I, ENTER], 1, "64 hexadecimal"),
        (&[HEADER, "{\"t_us\":0}", I, ENTER], 2, "not a typing event"),
        (
            &[HEADER, H, "{\"t_us\":1,\"kind\":\"undo\"}", ENTER],
            3,
            "undo",
        ),
        (
            &[HEADER, H, "{\"t_us\":-1,\"kind\":\"enter\"}"],
            3,
            "not a typing event",
        ),
        (&[HEADER, H, &I[..20], ENTER], 3, "not a typing event"),
        (&[HEADER, H, "", I, ENTER], 3, "empty line"),
        (&[HEADER, H, I, &late], 4, "goes back from 150000 to 100000"),
        (&[HEADER, H, &far, ENTER], 3, "more than a day"),
        (&[HEADER, H, I, cursor, ENTER], 4, "cannot go to position 3"),
        (
            &[HEADER, H, I, delete, ENTER],
            4,
            "cannot delete positions 0 to 3",
        ),
        (
            &[HEADER, H, I, reversed, ENTER],
            4,
            "start is behind the end",
        ),
        (&[HEADER, H, I, ENTER, ENTER], 5, "after 'enter'"),
        (&[HEADER, H, I], 3, "without 'enter'"),
        (&[HEADER], 1, "without 'enter'"),
        (
            &[&count, H, I, ENTER],
            4,
            "has 2 characters at the end, the header says 3",
        ),
        (&[&hash, H, I, ENTER], 4, "hashes to 3639efcd"),
    ];
    for (lines, line, words) in cases {
        let (at, fault) = parse(lines).expect_err(words);
        let said = fault.to_string();
        assert!(said.contains(words), "{said:?} lacks {words:?}");
        assert_eq!(at, *line, "{said}");
    }
    let not_text = [HEADER.as_bytes(), b"\n", H.as_bytes(), b"\n\xff\xfe"].concat();
    assert_eq!(Trace::parse(&not_text), Err((3, Fault::NotText)));
}

#[test]
fn growth_without_end_is_refused() {
    let big = "x".repeat(600_000);
    let insert = format!(r#"{{"t_us":0,"kind":"insert","text":"{big}","paste":true}}"#);
    let fault = parse(&[HEADER, &insert, &insert, ENTER]).unwrap_err();
    assert_eq!(fault, (3, Fault::TextTooLong));
    let events = format!("{HEADER}\n{}{ENTER}", format!("{H}\n").repeat(200_001));
    let fault = Trace::parse(events.as_bytes()).unwrap_err();
    assert_eq!(fault, (200_002, Fault::TooManyEvents));
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.jsonl");
    let said = Trace::load(&missing).unwrap_err().to_string();
    assert!(said.contains("missing.jsonl"), "{said}");
    assert!(matches!(
        Trace::load(dir.path()),
        Err(TraceError::Io { .. })
    ));
    let bad = dir.path().join("bad.jsonl");
    std::fs::write(&bad, format!("{HEADER}\n{H}\n")).unwrap();
    let said = Trace::load(&bad).unwrap_err().to_string();
    assert!(said.contains("bad.jsonl, line 2: "), "{said}");
    // Ends without reading for ever.
    let endless = Trace::load(Path::new("/dev/zero")).unwrap_err();
    assert!(
        endless.to_string().contains("larger than 32 MiB"),
        "{endless}"
    );
}

fn record(path: &Path, keep: RecordText, events: &[TypingEvent]) -> TraceRecorder {
    let mut recorder = TraceRecorder::new(path, keep);
    for event in events {
        let written = recorder.record(event).unwrap();
        assert_eq!(written, event.edit == Edit::Enter);
        assert_eq!(path.exists(), written, "nothing shows before Enter");
    }
    recorder
}

#[test]
fn a_recording_with_text_is_the_trace_it_was_made_from() {
    let dir = tempfile::tempdir().unwrap();
    for name in TRACES {
        let original = Trace::load(&path_of(name)).unwrap();
        let path = dir.path().join(format!("{name}.jsonl"));
        // Any clock will do: the recording counts from its first event.
        let shifted: Vec<TypingEvent> = original
            .events()
            .iter()
            .map(|e| TypingEvent {
                t_us: e.t_us + 77_000_000,
                edit: e.edit.clone(),
            })
            .collect();
        record(&path, RecordText::Keep, &shifted);
        let copy = Trace::load(&path).unwrap();
        assert_eq!(copy.events(), original.events());
        assert_eq!(copy.header().final_sha256, original.header().final_sha256);
        assert_eq!(copy.header().id, name);
        assert!(copy.header().text);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, TRACES.len(), "no temporary files stay");
}

#[test]
fn a_recording_without_text_keeps_times_and_positions_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("timing.jsonl");
    let original = Trace::load(&path_of("ca-w29-641b8258-8")).unwrap();
    record(&path, RecordText::TimingOnly, original.events());
    let copy = Trace::load(&path).unwrap();
    assert!(!copy.header().text);
    assert_eq!(copy.header().final_chars, original.header().final_chars);
    assert_eq!(copy.events().len(), original.events().len());
    for (kept, typed) in copy.events().iter().zip(original.events()) {
        assert_eq!(kept.t_us, typed.t_us);
        match (&kept.edit, &typed.edit) {
            (Edit::Insert { text: kept, .. }, Edit::Insert { text: typed, .. }) => {
                assert_eq!(*kept, "x".repeat(typed.chars().count()));
            }
            (kept, typed) => assert_eq!(kept, typed),
        }
    }
}

#[test]
fn nothing_is_written_over_or_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let events = parse(&[HEADER, H, I, ENTER]).unwrap().events().to_vec();

    let given_up = dir.path().join("given-up.jsonl");
    drop(record(&given_up, RecordText::Keep, &events[..2]));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let taken = dir.path().join("taken.jsonl");
    std::fs::write(&taken, "mine").unwrap();
    let mut recorder = TraceRecorder::new(&taken, RecordText::Keep);
    recorder.record(&events[0]).unwrap();
    let error = recorder.record(&events[2]).unwrap_err();
    assert!(error.to_string().contains("taken.jsonl"), "{error}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(
        recorder.record(&events[0]),
        Err(RecordError::Ended { .. })
    ));
}
