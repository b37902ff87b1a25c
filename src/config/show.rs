//! The settings in force as text, for `nmos config show`.

use super::{Origin, Setting, Settings};
use crate::session::TreeSize;
use std::fmt::Display;

impl Settings {
    /// Every setting: its key in the file, its value as the file would spell it, and its layer.
    pub fn rows(&self) -> Vec<(&'static str, String, Origin)> {
        let file = Setting {
            value: self
                .log_file()
                .map_or_else(String::new, |path| path.display().to_string()),
            origin: self.log_file.origin,
        };
        vec![
            text("oracle", &self.oracle),
            text("draft", &self.draft),
            text("scout", &self.scout),
            text("ram", &self.ram),
            text("vram", &self.vram),
            bare("ctx", &self.ctx),
            bare("threads", &self.threads),
            match self.tree.value {
                TreeSize::Auto | TreeSize::Chain(_) => text("tree", &self.tree),
                TreeSize::Fixed(_) => bare("tree", &self.tree),
            },
            bare("max-tokens", &self.max_tokens),
            text("system", &self.system),
            text("chat-template", &self.chat_template),
            text("theme", &self.theme),
            text("exact", &self.exact),
            text("recycle", &self.recycle),
            text("mouse", &self.mouse),
            bare("sampling.temp", &self.sampling.temp),
            bare("sampling.top-k", &self.sampling.top_k),
            bare("sampling.top-p", &self.sampling.top_p),
            bare("sampling.min-p", &self.sampling.min_p),
            bare("sampling.repeat-penalty", &self.sampling.repeat_penalty),
            bare("sampling.seed", &self.sampling.seed),
            text("log.level", &self.log_level),
            text("log.file", &file),
        ]
    }
}

fn bare<T: Display>(key: &'static str, setting: &Setting<T>) -> (&'static str, String, Origin) {
    (key, setting.value.to_string(), setting.origin)
}

fn text<T: Display>(key: &'static str, setting: &Setting<T>) -> (&'static str, String, Origin) {
    // TOML's own spelling, so that quotes and line ends inside come out right.
    let quoted = toml::Value::String(setting.value.to_string()).to_string();
    (key, quoted, setting.origin)
}
