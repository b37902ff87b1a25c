//! The GGUF index on right and wrong files: each fault has its error, each error its file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::gguf_builder::{Builder, nested, sample, string};
use nmos::model::gguf::{Foreign, GgmlType, Gguf, GgufError, GgufFault as F};

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn open(bytes: &[u8]) -> Result<Gguf, GgufError> {
    let dir = tempfile::tempdir().unwrap();
    Gguf::open(&write(dir.path(), "model.gguf", bytes))
}

#[track_caller]
fn fault(builder: &Builder) -> F {
    let error = open(&builder.build()).unwrap_err();
    assert!(error.to_string().contains("model.gguf"), "{error}");
    error.fault
}

#[test]
fn a_valid_file_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    for version in [2, 3] {
        let mut builder = sample();
        builder.version = version;
        let bytes = builder.build();
        let path = write(dir.path(), "model.gguf", &bytes);
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.architecture().unwrap(), "qwen2");
        assert_eq!(gguf.name(), "sample");
        assert_eq!(gguf.require_u32("qwen2.block_count").unwrap(), 2);
        assert_eq!(gguf.require_f32("qwen2.rope.freq_base").unwrap(), 1e6);
        assert_eq!(gguf.f32("a.f64").unwrap(), Some(2.5));
        assert_eq!(gguf.u64("a.u64").unwrap(), Some(u64::MAX));
        assert_eq!(gguf.u64("absent").unwrap(), None);
        assert_eq!(gguf.array_len("tokenizer.ggml.tokens").unwrap(), Some(4));
        assert!(gguf.has_vocabulary_of(&gguf).unwrap());

        let file = &gguf.files[0];
        assert_eq!((file.len, &file.path), (bytes.len() as u64, &path));
        assert_eq!(gguf.tensors().len(), 3);
        let embd = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(embd.offset, file.data_offset);
        assert_eq!(
            (embd.ty, embd.dims, embd.n_dims),
            (GgmlType::Q8_0, [64, 4, 1, 1], 2)
        );
        assert_eq!((embd.bytes, embd.row_bytes()), (272, 68));
        let down = gguf.tensor("blk.0.ffn_down.weight").unwrap();
        // 272 rounds up to 288, 288 + 256 = 544 is aligned already.
        assert_eq!((down.offset, down.bytes), (file.data_offset + 544, 432));
        assert!(gguf.tensor("blk.9").is_none());
    }
}

#[test]
fn metadata_of_another_type_names_file_and_key() {
    let gguf = open(&sample().build()).unwrap();
    for error in [
        gguf.str("qwen2.block_count").unwrap_err(),
        gguf.u32("general.name").unwrap_err(),
        gguf.u32("a.i32").unwrap_err(),
        gguf.u32("a.u64").unwrap_err(),
        gguf.f32("a.bool").unwrap_err(),
        gguf.array_len("general.name").unwrap_err(),
    ] {
        assert!(matches!(error.fault, F::WrongType { .. }), "{error}");
        assert!(error.to_string().contains("model.gguf"), "{error}");
    }
    let error = gguf.require_u32("llama.block_count").unwrap_err();
    assert!(matches!(&error.fault, F::MissingKey(key) if key == "llama.block_count"));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample().build();
    let data_end = bytes.len() - (544 + 432usize).next_multiple_of(32) + 544 + 432;
    let dir = tempfile::tempdir().unwrap();
    for len in 0..data_end {
        let path = write(dir.path(), "cut.gguf", &bytes[..len]);
        let error = Gguf::open(&path).unwrap_err();
        assert!(
            matches!(
                error.fault,
                F::Empty | F::Truncated { .. } | F::Count { .. } | F::CutShort { .. }
            ),
            "{len}: {error}"
        );
    }
    // What pads the last tensor to the alignment may be missing.
    let path = write(dir.path(), "whole.gguf", &bytes[..data_end]);
    Gguf::open(&path).unwrap();
}

#[test]
fn wrong_magic_version_and_byte_order() {
    let mut b = sample();
    b.magic = *b"GGUG";
    assert!(matches!(fault(&b), F::BadMagic(m) if m == b.magic));
    b.magic = *b"PK\x03\x04";
    assert!(matches!(fault(&b), F::Foreign(Foreign::PyTorch)));
    let mut b = sample();
    b.version = 1;
    assert!(matches!(fault(&b), F::Version(1)));
    b.version = 0;
    assert!(matches!(fault(&b), F::Version(0)));
    b.version = 3u32.swap_bytes();
    assert!(matches!(fault(&b), F::BigEndian));
}

#[test]
fn absurd_counts_and_lengths() {
    for count in [1 << 20, u64::MAX / 24, u64::MAX] {
        let mut b = sample();
        b.n_tensors = Some(count);
        assert!(matches!(
            fault(&b),
            F::Count {
                what: "tensors",
                ..
            }
        ));
        let mut b = sample();
        b.n_entries = Some(count);
        assert!(matches!(
            fault(&b),
            F::Count {
                what: "metadata entries",
                ..
            }
        ));
        let long = count.to_le_bytes();
        assert!(matches!(
            fault(&Builder::model().raw("k", 8, &long)),
            F::Truncated { .. }
        ));
        for element in [0u32, 3, 6, 8, 9, 12] {
            let mut body = element.to_le_bytes().to_vec();
            body.extend(long);
            let found = fault(&Builder::model().raw("k", 9, &body));
            assert!(
                matches!(
                    found,
                    F::Count {
                        what: "array elements",
                        ..
                    }
                ),
                "{found}"
            );
        }
    }
}

#[test]
fn bad_metadata() {
    assert!(matches!(
        fault(&Builder::default().u32("general.file_type", 1)),
        F::MissingKey(key) if key == "general.architecture"
    ));
    let b = Builder::default().u32("general.architecture", 1);
    let error = open(&b.build()).unwrap().architecture().unwrap_err();
    assert!(matches!(error.fault, F::WrongType { .. }));
    assert!(matches!(
        fault(&Builder::model().u32("k", 1).u32("k", 1)),
        F::DuplicateKey(key) if key == "k"
    ));
    assert!(matches!(
        fault(&Builder::model().raw("k", 13, &[0])),
        F::ValueType { id: 13, .. }
    ));
    assert!(matches!(
        fault(&Builder::model().raw("k", 7, &[2])),
        F::BadBool { value: 2, .. }
    ));
    let mut invalid = string("ab");
    invalid[8] = 0xff;
    // llama.cpp takes any bytes, and a name in another encoding harms nothing.
    let gguf = open(&Builder::model().raw("general.name", 8, &invalid).build()).unwrap();
    assert_eq!(gguf.name(), "\u{fffd}b");
    assert!(open(&Builder::model().raw("k", 9, &nested(4)).build()).is_ok());
    assert!(matches!(
        fault(&Builder::model().raw("k", 9, &nested(5))),
        F::Nesting { .. }
    ));
    let long = "k".repeat(65_536);
    assert!(matches!(
        fault(&Builder::model().u32(&long, 1)),
        F::TooLong { .. }
    ));
    for bad in [0, 3, 48, u32::MAX] {
        let b = Builder::model().u32("general.alignment", bad);
        assert!(
            matches!(fault(&b), F::Alignment(n) if n == u64::from(bad)),
            "{bad}"
        );
    }
}

#[test]
fn bad_tensors() {
    let with = |name: &str, ty, dims: &[u64], offset| {
        fault(
            &Builder::model()
                .tensor_at(name, ty, dims, offset)
                .data(1024),
        )
    };
    assert!(matches!(with("t", 0, &[8], 1), F::Misaligned { .. }));
    assert!(matches!(with("t", 0, &[8], 1024), F::CutShort { .. }));
    assert!(matches!(
        with("t", 0, &[257], 0),
        F::CutShort { needed, len, .. } if needed - len == 4
    ));
    let top = u64::MAX - 31;
    assert!(matches!(with("t", 0, &[8], top), F::OutOfRange { .. }));
    assert!(matches!(with("t", 0, &[0, 4], 0), F::Dimensions { .. }));
    assert!(matches!(
        with("t", 0, &[1 << 62, 4], 0),
        F::Dimensions { .. }
    ));
    assert!(matches!(
        with("t", 0, &[1 << 40, 1 << 40], 0),
        F::Dimensions { .. }
    ));
    assert!(matches!(
        with("t", 0, &[i64::MAX as u64], 0),
        F::Dimensions { .. }
    ));
    assert!(matches!(
        with("t", 0, &[], 0),
        F::DimensionCount { n_dims: 0, .. }
    ));
    assert!(matches!(
        with("t", 0, &[1; 5], 0),
        F::DimensionCount { n_dims: 5, .. }
    ));
    assert!(matches!(
        with("t", 12, &[128], 0),
        F::PartialBlock { block: 256, .. }
    ));
    for id in [4, 31, 36, 99, u32::MAX] {
        assert!(
            matches!(with("t", id, &[256], 0), F::UnsupportedType { .. }),
            "{id}"
        );
    }
    assert!(matches!(
        with(&"n".repeat(64), 0, &[8], 0),
        F::TooLong { limit: 63, .. }
    ));

    let twice = Builder::model()
        .tensor("t", 0, &[8], 32)
        .tensor("t", 0, &[8], 32);
    assert!(matches!(fault(&twice), F::DuplicateTensor(name) if name == "t"));
    let overlap = Builder::model()
        .tensor_at("late", 0, &[8], 64)
        .tensor_at("early", 0, &[24], 0)
        .data(1024);
    assert!(matches!(
        fault(&overlap),
        F::Overlap { first, second } if first == "early" && second == "late"
    ));
}

#[test]
fn a_declared_alignment_is_kept() {
    let b = Builder::model()
        .alignment(256)
        .tensor("a", 0, &[1], 4)
        .tensor("b", 0, &[1], 4);
    let gguf = open(&b.build()).unwrap();
    assert_eq!(gguf.files[0].data_offset % 256, 0);
    assert_eq!(
        gguf.tensor("b").unwrap().offset - gguf.tensor("a").unwrap().offset,
        256
    );
}

#[test]
fn paths_that_are_no_model() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Gguf::open(&dir.path().join("none.gguf")).unwrap_err();
    assert!(matches!(missing.fault, F::NotFound), "{missing}");
    assert!(missing.to_string().contains("none.gguf"));
    let directory = Gguf::open(dir.path()).unwrap_err();
    assert!(matches!(directory.fault, F::IsDirectory), "{directory}");
    let device = Gguf::open(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(device.fault, F::NotAFile), "{device}");
}

#[test]
fn an_unreadable_file_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "secret.gguf", &sample().build());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    match Gguf::open(&path) {
        Err(error) => assert!(matches!(error.fault, F::Unreadable), "{error}"),
        // Root reads everything: then there is no such fault to report.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

fn part(number: u16, count: u16, total: i32) -> Builder {
    let base = if number == 0 {
        Builder::model()
    } else {
        Builder::default()
    };
    base.u16("split.no", number)
        .u16("split.count", count)
        .i32("split.tensors.count", total)
        .tensor(&format!("blk.{number}.weight"), 0, &[16], 64)
}

#[test]
fn a_split_model_opens_by_any_part() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3)
        .map(|i| {
            let name = format!("m-{:05}-of-00003.gguf", i + 1);
            write(dir.path(), &name, &part(i, 3, 3).build())
        })
        .collect();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(
            gguf.files.iter().map(|f| &f.path).collect::<Vec<_>>(),
            paths.iter().collect::<Vec<_>>()
        );
        for i in 0..3 {
            let tensor = gguf.tensor(&format!("blk.{i}.weight")).unwrap();
            assert_eq!((tensor.file, tensor.offset), (i, gguf.files[i].data_offset));
        }
    }
    fs::remove_file(&paths[1]).unwrap();
    let error = Gguf::open(&paths[0]).unwrap_err();
    assert!(
        matches!(&error.fault, F::SplitMissing { number: 2, count: 3, missing } if *missing == paths[1]),
        "{error}"
    );
    let error = Gguf::open(&paths[1]).unwrap_err();
    assert!(matches!(error.fault, F::NotFound), "{error}");
}

#[test]
fn parts_that_do_not_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    let set = |first: Builder, second: Builder| {
        let path = write(dir.path(), "m-00001-of-00002.gguf", &first.build());
        write(dir.path(), "m-00002-of-00002.gguf", &second.build());
        Gguf::open(&path).map(drop)
    };
    set(part(0, 2, 2), part(1, 2, 2)).unwrap();
    for (first, second, wrong) in [
        (part(0, 3, 2), part(1, 2, 2), "split.count"),
        (part(0, 2, 2), part(1, 3, 2), "split.count"),
        (part(0, 2, 2), part(0, 2, 2), "split.no"),
        (part(0, 2, 5), part(1, 2, 2), "split.tensors.count"),
    ] {
        let error = set(first, second).unwrap_err();
        assert!(
            matches!(error.fault, F::SplitMismatch { key, .. } if key == wrong),
            "{error}"
        );
    }
    let same = Builder::default()
        .u16("split.no", 1)
        .u16("split.count", 2)
        .tensor("blk.0.weight", 0, &[16], 64);
    let error = set(part(0, 2, 2), same).unwrap_err();
    assert!(matches!(error.fault, F::DuplicateTensor(_)), "{error}");
    let alone = fault(&part(0, 2, 2));
    assert!(
        matches!(
            alone,
            F::SplitNowhere {
                number: 2,
                count: 2
            }
        ),
        "{alone}"
    );
    let wrong = fault(&part(2, 2, 2));
    assert!(matches!(wrong, F::SplitNumber { count: 2, .. }), "{wrong}");
}

#[test]
fn what_a_header_says_of_a_split_decides_and_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    // A model in one piece that is named as a part.
    let whole = Builder::model().tensor("blk.0.weight", 0, &[16], 64);
    let path = write(dir.path(), "m-00001-of-00002.gguf", &whole.build());
    assert_eq!(Gguf::open(&path).unwrap().files.len(), 1);
    // The other part named is no part of it, and says so itself.
    let second = write(dir.path(), "m-00002-of-00002.gguf", &part(1, 2, 2).build());
    let error = Gguf::open(&second).unwrap_err();
    assert_eq!(error.path, path);
    assert!(
        matches!(
            error.fault,
            F::SplitMismatch {
                key: "split.count",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn parts_are_found_whatever_they_are_named() {
    for names in [
        [
            "Q-00001-OF-00003.GGUF",
            "Q-00002-OF-00003.GGUF",
            "Q-00003-OF-00003.GGUF",
        ],
        ["q.gguf.part1of3", "q.gguf.part2of3", "q.gguf.part3of3"],
        ["q_0.gguf", "q_1.gguf", "q_2.gguf"],
        ["first.gguf", "and then.gguf", "last"],
        [
            "q-00001-of-00003 (1).gguf",
            "q-00002-of-00003.gguf",
            "3.GGUF",
        ],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..3)
            .map(|i| write(dir.path(), names[usize::from(i)], &part(i, 3, 3).build()))
            .collect();
        // Files that are none of its parts, as the same folder may have.
        write(dir.path(), "other.gguf", &sample().build());
        write(dir.path(), "x-1.gguf", &part(1, 4, 3).build());
        write(dir.path(), "x-2.gguf", &part(1, 3, 9).build());
        write(dir.path(), "broken.gguf", b"GGUF\x03\0\0\0");
        for path in &paths {
            let gguf = Gguf::open(path).unwrap();
            assert!(
                gguf.paths().eq(paths.iter().map(PathBuf::as_path)),
                "{names:?}"
            );
        }
        fs::remove_file(&paths[2]).unwrap();
        let error = Gguf::open(&paths[0]).unwrap_err().to_string();
        assert!(error.contains("part 3 of 3 is missing"), "{error}");
    }
}

#[test]
fn of_two_like_parts_the_one_that_is_named_like_the_others_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, number| write(dir.path(), name, &part(number, 2, 2).build());
    let (q4, q8) = (put("q4-1.gguf", 0), put("q8-1.gguf", 0));
    let (q4_second, q8_second) = (put("q4-2.gguf", 1), put("q8-2.gguf", 1));
    for (first, second) in [(&q4, &q4_second), (&q8, &q8_second)] {
        for path in [first, second] {
            let gguf = Gguf::open(path).unwrap();
            assert!(gguf.paths().eq([first.as_path(), second.as_path()]));
        }
    }
    let strange = put("strange.gguf", 0);
    let error = Gguf::open(&strange).unwrap_err();
    assert!(
        matches!(
            error.fault,
            F::SplitTwice {
                number: 2,
                count: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn links_are_followed_and_one_to_nothing_is_said() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (blobs, shown) = (dir.path().join("blobs"), dir.path().join("shown"));
    fs::create_dir(&blobs).unwrap();
    fs::create_dir(&shown).unwrap();
    // As the hub's own cache has them.
    for i in 0..2 {
        let blob = write(&blobs, &format!("{i}abc"), &part(i, 2, 2).build());
        symlink(blob, shown.join(format!("m-{:05}-of-00002.gguf", i + 1))).unwrap();
    }
    for path in [
        shown.join("m-00002-of-00002.gguf"),
        shown.join("m-00001-of-00002.gguf"),
        blobs.join("1abc"),
    ] {
        assert_eq!(Gguf::open(&path).unwrap().files.len(), 2, "{path:?}");
    }
    let nowhere = dir.path().join("nowhere.gguf");
    symlink("gone.gguf", &nowhere).unwrap();
    let error = Gguf::open(&nowhere).unwrap_err();
    assert!(
        matches!(&error.fault, F::Dangling(to) if to == Path::new("gone.gguf")),
        "{error}"
    );
}

#[test]
fn a_file_cut_by_bytes_says_that_its_pieces_are_to_be_joined() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sample().build();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for (name, piece) in [
        ("m.gguf.part1of2", first),
        ("m.gguf.part2of2", second),
        ("m.gguf-split-a", first),
        ("m.gguf-split-b", second),
        ("m.gguf.001", &bytes[..64]),
    ] {
        let error = Gguf::open(&write(dir.path(), name, piece)).unwrap_err();
        assert!(matches!(error.fault, F::Piece(_)), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("join all the pieces") && said.contains("into m.gguf"),
            "{said}"
        );
    }
    // A whole model under such a name is one.
    Gguf::open(&write(dir.path(), "m.gguf.1", &bytes)).unwrap();
}

#[test]
fn tensors_in_any_order_with_bytes_between_and_after_them_are_found() {
    let b = Builder::model()
        .tensor_at("late", 0, &[8], 128)
        .tensor_at("early", 0, &[8], 0)
        .data(1 << 12);
    let gguf = open(&b.build()).unwrap();
    let start = gguf.files[0].data_offset;
    assert_eq!(gguf.tensor("late").unwrap().offset, start + 128);
    assert_eq!(gguf.tensor("early").unwrap().offset, start);
}

#[test]
fn any_power_of_two_is_an_alignment_and_much_metadata_is_no_harm() {
    for alignment in [1, 8, 16, 64, 4096] {
        let b = Builder::model()
            .alignment(alignment)
            .tensor("a", 0, &[1], 4)
            .tensor("b", 0, &[1], 4);
        let gguf = open(&b.build()).unwrap();
        let alignment = u64::from(alignment).max(4);
        let apart = gguf.tensor("b").unwrap().offset - gguf.tensor("a").unwrap().offset;
        assert_eq!(apart, alignment);
    }
    let many: Vec<String> = (0..60_000).map(|i| format!("token {i}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let mut b = Builder::model().texts("tokenizer.ggml.tokens", &many);
    b = b.text("tokenizer.chat_template", &"x".repeat(1 << 20));
    for i in 0..3_000 {
        b = b.u32(&format!("key.number.{i}"), i);
    }
    let gguf = open(&b.tensor("t", 0, &[8], 32).build()).unwrap();
    assert_eq!(gguf.n_tokens().unwrap(), many.len());
    assert_eq!(gguf.u32("key.number.2999").unwrap(), Some(2999));
}
