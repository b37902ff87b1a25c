//! Files as people have them: parts of any name, folders, and all that is not a model that
//! answers. Each runs, or is refused in one line that says what it is and what to do.

use crate::gguf_builder::Builder;
use crate::tiny_model::Tiny;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder for models, which is a home as well.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn nmos(&self, command: &[&str], oracle: &Path) -> Output {
        let mut nmos = Command::new(env!("CARGO_BIN_EXE_nmos"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NMOS_") || text.starts_with("XDG_") {
                nmos.env_remove(name);
            }
        }
        nmos.args(command).arg("--oracle").arg(oracle);
        nmos.args(["--draft", "none", "--scout", "none", "--ram", "1GiB"]);
        nmos.args(["--vram", "0", "--threads", "1", "--ctx", "256"]);
        nmos.env("HOME", self.0.path()).stdin(Stdio::null());
        nmos.output().unwrap()
    }

    /// A greedy answer of a few tokens.
    fn answer(&self, oracle: &Path) -> Vec<u8> {
        let output = self.nmos(&["run", "-n", "4", "hello"], oracle);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", oracle.display());
        output.stdout
    }

    /// The line in which `plan` and `run` refuse it, both the same.
    fn refusal(&self, oracle: &Path) -> String {
        let [plan, run] = [&["plan"][..], &["run", "-n", "4", "hello"]].map(|command| {
            let output = self.nmos(command, oracle);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            said
        });
        assert_eq!(plan, run);
        run
    }
}

/// The model in three parts: the metadata, and its tensors in the last.
fn split(tiny: &Tiny) -> [Vec<u8>; 3] {
    let part = |number: u16, b: Builder| {
        b.u16("split.no", number)
            .u16("split.count", 3)
            .i32("split.tensors.count", tiny.n_tensors() as i32)
    };
    [
        tiny.first_part(|b| part(0, b)),
        part(1, Builder::default()).build(),
        tiny.second_part(part(2, Builder::default())),
    ]
}

#[test]
fn a_split_model_of_any_naming_answers_as_the_whole_one_does() {
    let place = Place::new();
    for (arch, tiny) in [
        ("ours", Tiny::default()),
        (
            "theirs",
            Tiny {
                arch: "internlm2",
                ..Tiny::default()
            },
        ),
    ] {
        let whole = place.answer(&place.write(&format!("{arch}/whole.gguf"), &tiny.build()));
        assert!(!whole.is_empty());
        let parts = split(&tiny);
        for names in [
            [
                "m.Q4-00001-OF-00003.GGUF",
                "m.Q4-00002-OF-00003.GGUF",
                "m.Q4-00003-OF-00003.GGUF",
            ],
            ["m.gguf.part1of3", "m.gguf.part2of3", "m.gguf.part3of3"],
            ["one", "two.gguf", "three.bin"],
        ] {
            let folder = format!("{arch}/{}", names[0]);
            let paths: Vec<_> = names
                .iter()
                .zip(&parts)
                .map(|(name, bytes)| place.write(&format!("{folder}/{name}"), bytes))
                .collect();
            for path in [&paths[0], &paths[2]] {
                assert_eq!(place.answer(path), whole, "{}", path.display());
            }
            std::fs::remove_file(&paths[2]).unwrap();
            let said = place.refusal(&paths[0]);
            assert!(said.contains("part 3 of 3 is missing"), "{said}");
        }
    }
}

#[test]
fn a_folder_with_one_model_is_that_model() {
    let place = Place::new();
    let bytes = Tiny::default().build();
    let alone = place.answer(&place.write("alone.gguf", &bytes));
    let folder = place.write("folder/model.gguf", &bytes);
    let folder = folder.parent().unwrap();
    let projector = Builder::default()
        .text("general.architecture", "clip")
        .text("general.type", "mmproj")
        .tensor("v.patch_embd.weight", 0, &[16], 64);
    place.write("folder/mmproj-model.gguf", &projector.build());
    place.write("folder/README.md", b"# A model");
    assert_eq!(place.answer(folder), alone);
    place.write("folder/second.gguf", &bytes);
    let said = place.refusal(folder);
    assert!(
        said.contains("a directory with 2 models") && said.contains("model.gguf"),
        "{said}"
    );
    let parts = split(&Tiny::default());
    let mut part = PathBuf::new();
    for (i, bytes) in parts.iter().enumerate() {
        part = place.write(&format!("split/m-{:05}-of-00003.gguf", i + 1), bytes);
    }
    assert_eq!(place.answer(part.parent().unwrap()), alone);
    let empty = place.write("empty/notes.txt", b"");
    let said = place.refusal(empty.parent().unwrap());
    assert!(said.contains("a directory without a GGUF model"), "{said}");
}

#[test]
fn what_is_no_model_is_told_what_it_is() {
    let place = Place::new();
    let header = br#"{"model.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let safetensors = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    let model = |kind: &str| Builder::model().text("general.type", kind);
    let lora = model("adapter")
        .text("adapter.type", "lora")
        .text("general.base_model.0.name", "Qwen2.5 7B")
        .tensor("blk.0.attn_q.weight.lora_a", 0, &[16], 64);
    let projector = Builder::default()
        .text("general.architecture", "clip")
        .tensor("v.patch_embd.weight", 0, &[16], 64);
    let imatrix = Builder::default()
        .text("general.type", "imatrix")
        .u32("imatrix.chunk_count", 4)
        .tensor("blk.0.attn_q.weight.in_sum2", 0, &[16], 64);
    let control = Builder::default()
        .text("general.architecture", "controlvector")
        .tensor("direction.1", 0, &[16], 64);
    let bytes = Tiny::default().build();
    let of_version = |version| {
        let mut builder = Builder::model();
        builder.version = version;
        builder.build()
    };
    for (name, bytes, says) in [
        (
            "model.safetensors",
            &safetensors,
            "is a safetensors file; NMOS reads GGUF",
        ),
        (
            "pytorch_model.bin",
            &b"PK\x03\x04\x14\0".to_vec(),
            "is a PyTorch file",
        ),
        (
            "ggml-model-q4_0.bin",
            &b"tjgg\x03\0\0\0".to_vec(),
            "from before GGUF",
        ),
        (
            "m.gguf.gz",
            &b"\x1f\x8b\x08\0\0".to_vec(),
            "compressed with gzip: unpack it first",
        ),
        (
            "page.gguf",
            &b"<!doctype html><html>".to_vec(),
            "is a web page",
        ),
        (
            "pointer.gguf",
            &b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "`git lfs pull`",
        ),
        ("zeros.gguf", &vec![0; 4096], "begins with zeros"),
        ("empty.gguf", &Vec::new(), "is empty"),
        (
            "noise.gguf",
            &b"noise".to_vec(),
            "not a GGUF file: it starts with \"nois\"",
        ),
        ("v1.gguf", &of_version(1), "has GGUF version 1"),
        (
            "big.gguf",
            &of_version(3_u32.swap_bytes()),
            "is big-endian GGUF",
        ),
        (
            "lora.gguf",
            &lora.build(),
            "this is a LoRA adapter for Qwen2.5 7B",
        ),
        (
            "mmproj.gguf",
            &projector.build(),
            "the part of a model that reads pictures",
        ),
        ("imatrix.gguf", &imatrix.build(), "is an importance matrix"),
        ("control.gguf", &control.build(), "this is a control vector"),
        (
            "vocabulary.gguf",
            &Tiny::default().first_part(|b| b),
            "this is a vocabulary without weights",
        ),
        (
            "short.gguf",
            &bytes[..bytes.len() - 1000].to_vec(),
            "is cut short: it has",
        ),
        (
            "head.gguf",
            &bytes[..3000].to_vec(),
            "(an unfinished download?)",
        ),
        (
            "m.gguf.part1of2",
            &bytes[..3000].to_vec(),
            "join all the pieces, in order, into m.gguf",
        ),
    ] {
        let said = place.refusal(&place.write(name, bytes));
        assert!(said.contains(says), "{says}: {said}");
        assert!(said.contains(name), "{name}: {said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    }
}

#[test]
fn a_file_cut_short_says_how_much_is_missing() {
    let place = Place::new();
    let bytes = Tiny::default().build();
    let said = place.refusal(&place.write("short.gguf", &bytes[..bytes.len() - 4096]));
    assert!(said.contains("4096 bytes from tensor '"), "{said}");
    // What comes after the last tensor harms nothing, and neither does its padding's absence.
    let answer = place.answer(&place.write("whole.gguf", &bytes));
    let more = [&bytes[..], b"some notes of whoever made the file"].concat();
    assert_eq!(place.answer(&place.write("more.gguf", &more)), answer);
}

#[test]
fn any_version_alignment_and_type_that_llama_cpp_takes_runs() {
    let place = Place::new();
    let answer = place.answer(&place.write("3.gguf", &Tiny::default().build()));
    let second = Tiny::default().build_with(|mut b| {
        b.version = 2;
        b
    });
    assert_eq!(place.answer(&place.write("2.gguf", &second)), answer);
    for alignment in [8, 16, 64, 256] {
        let aligned = Tiny {
            alignment: Some(alignment),
            ..Tiny::default()
        };
        let path = place.write(&format!("{alignment}.gguf"), &aligned.build());
        assert_eq!(place.answer(&path), answer, "{alignment}");
    }
    let later = Tiny::default().build_with(|b| b.text("general.type", "of a later time"));
    assert_eq!(place.answer(&place.write("later.gguf", &later)), answer);
    let twice = Tiny::default().build_with(|b| {
        b.u32("general.quantization_version", 2)
            .u32("general.quantization_version", 2)
    });
    let said = place.refusal(&place.write("twice.gguf", &twice));
    assert!(said.contains("occurs twice"), "{said}");
}

#[test]
fn tokens_that_are_no_text_by_themselves_are_no_damage() {
    // A token of a single byte, which is a part of a character.
    let place = Place::new();
    let mut bytes = Tiny::default().build();
    let token = b"[PAD270]";
    let at = bytes.windows(token.len()).position(|w| w == token).unwrap();
    bytes[at] = 0xe2;
    let path = place.write("bytes.gguf", &bytes);
    assert!(!place.answer(&path).is_empty());
}
