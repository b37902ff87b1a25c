//! Experts that come and go otherwise than by default, and what is predicted of those that do.

use crate::common::{least_in, turn};
use crate::program;
use crate::tiny_mixture::{Arch, TinyMixture};
use crate::tiny_model::Tiny;
use nmos::experts::{Mixture, ModelKey, Profile, Uses, profile_file};
use nmos::ggml::{self, GgmlType};
use nmos::model::{Gguf, Outline};
use nmos::units::Bytes;
use nmos::vocabulary::{ExpertPolicy, Label};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use tempfile::TempDir;

/// A model in a file of its own, and a home for `nmos` next to it.
struct Home {
    dir: TempDir,
    model: PathBuf,
}

impl Home {
    fn of(file: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model.gguf");
        std::fs::write(&model, file).unwrap();
        Self { dir, model }
    }

    /// With 6 layers of 32 experts, of which a token uses 4: 80 MB.
    fn of_mixture() -> Self {
        ggml::init().unwrap();
        let tiny = TinyMixture {
            layers: 6,
            experts: 32,
            used: 4,
            ff: 512,
            up_ty: GgmlType::Q8_0,
            down_ty: GgmlType::Q8_0,
            ty: GgmlType::Q8_0,
            ..TinyMixture::of(Arch::Qwen2Moe)
        };
        Self::of(&tiny.build())
    }

    fn nmos(&self, command: &str, ram: Bytes, more: &[&str]) -> Output {
        program::nmos(self.dir.path())
            .env("NMOS_CACHE", self.dir.path().join("cache"))
            .args([command, "--draft", "none", "--ctx", "512"])
            .args(["--ram", &ram.0.to_string(), "--oracle"])
            .arg(&self.model)
            .args(more)
            .output()
            .unwrap()
    }

    /// Teaches that all labels' texts use these experts of a layer, and no others. Returns where
    /// that is kept.
    fn teach(&self, experts: &[usize]) -> PathBuf {
        let gguf = Gguf::open(&self.model).unwrap();
        let mixture = Mixture::of(&Outline::from_gguf(&gguf).unwrap()).unwrap();
        let key = ModelKey::of_mixture(&gguf, &mixture.groups);
        let mut profile = Profile::of(&mixture.routing_header(key));
        let mut uses = Uses {
            tokens: 4000.0,
            experts: vec![0.0; profile.experts()],
        };
        for layer in uses.experts.chunks_mut(32) {
            for &expert in experts {
                layer[expert] = 4000.0;
            }
        }
        profile.learn(Label::Chat, &uses);
        let path = profile_file::path(&self.dir.path().join("cache"), key);
        let _ = profile_file::add(&path, &profile).unwrap();
        path
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_answer_is_the_same_however_its_experts_come_and_go() {
    let _turn = turn();
    let home = Home::of_mixture();
    // Long enough for kernels to be of several kinds, by how many tokens chose an expert.
    let prompt = "hello ".repeat(40);
    let run = |policy: ExpertPolicy, ram| {
        let flag = ["--experts", policy.name()];
        let more = [&flag[..], &["--json", "-n", "24", &prompt]].concat();
        home.nmos("run", ram, &more)
    };
    let refused = run(ExpertPolicy::WholeLayers, Bytes::mib(1));
    assert_eq!(refused.status.code(), Some(1));
    let ram = Bytes(least_in(&said(&refused)).0 + Bytes::mib(8).0);
    let all = ExpertPolicy::ALL.map(|policy| (policy, json(&run(policy, ram))));
    let (_, default) = &all[0];
    assert!(!default["text"].as_str().unwrap().is_empty());
    for (policy, stats) in &all {
        assert_eq!(stats["text"], default["text"], "{policy:?}");
        let peak = stats["rss_peak_bytes"].as_u64().unwrap();
        assert!(peak <= ram.0, "{policy:?}: {peak} of {ram}");
        let one_by_one = *policy != ExpertPolicy::WholeLayers;
        for rate in ["expert_hit_rate", "expert_hit_rate_first16"] {
            let rate = stats[rate].as_f64();
            assert_eq!(rate.is_some(), one_by_one, "{policy:?}");
            assert!((0.0..=1.0).contains(&rate.unwrap_or(0.0)));
        }
        match policy {
            ExpertPolicy::ByLabel => assert!(stats["expert_policy"].is_null()),
            other => assert_eq!(stats["expert_policy"], other.name()),
        }
        if *policy == ExpertPolicy::Lru {
            assert_eq!(stats["expert_hit_rate"], stats["expert_lru_hit_rate"]);
        }
    }
    let bytes = |of: usize| all[of].1["bytes_read"].as_u64().unwrap();
    assert!(bytes(3) > 2 * bytes(0), "{} and {}", bytes(3), bytes(0));
}

#[test]
fn what_has_no_experts_one_by_one_says_so() {
    let _turn = turn();
    let home = Home::of(&Tiny::default().build());
    let run = |more: &[&str]| {
        let more = [more, &["-n", "20", "--json", "hello hello"]].concat();
        home.nmos("run", Bytes::mib(512), &more)
    };
    let stats = json(&run(&[]));
    assert!(stats["expert_hit_rate_first16"].is_null() && stats["expert_policy"].is_null());
    let refused = run(&["--experts", "lru"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("leave --experts out"),
        "{}",
        said(&refused)
    );
    let refused = run(&["--experts", "whole-layers", "--record-routing", "routing"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("leave one of the two out"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_plan_says_what_a_hit_rate_is_predicted_from_whatever_the_profile_holds() {
    let _turn = turn();
    let home = Home::of_mixture();
    let refused = home.nmos("plan", Bytes::mib(1), &[]);
    let ram = Bytes(least_in(&said(&refused)).0 + Bytes::mib(8).0);
    let plan = || {
        let words = home.nmos("plan", ram, &[]);
        let report = json(&home.nmos("plan", ram, &["--json"]));
        let rate = report["experts"]["predicted_hit_rate"].as_f64().unwrap();
        let from = report["experts"]["predicted_from"].as_str().unwrap();
        let out = String::from_utf8_lossy(&words.stdout).into_owned();
        (rate, from.to_owned(), out, said(&words))
    };
    let (shape, from, words, notes) = plan();
    assert_eq!(from, "shape");
    assert!(words.contains("(predicted from its shape)"), "{words}");
    assert!(!notes.contains("profile"), "{notes}");

    let profile = home.teach(&[1, 5, 9, 13]);
    let (used, from, words, notes) = plan();
    assert_eq!(from, "earlier_use");
    assert!(words.contains("(predicted from earlier use)"), "{words}");
    assert!(!notes.contains("profile"), "{notes}");
    assert!(used > shape + 0.1, "{used} {shape}");

    let kept = std::fs::read(&profile).unwrap();
    std::fs::write(&profile, &kept[..kept.len() / 2]).unwrap();
    let (damaged, from, _, notes) = plan();
    assert_eq!((damaged, from.as_str()), (shape, "shape"));
    assert_eq!(notes.matches("is not used").count(), 1, "{notes}");
}
