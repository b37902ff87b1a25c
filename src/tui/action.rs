//! Everything a key, a click or a script can ask of the workbench.
//!
//! One enum from keys to effects: the key map turns a chord into an [`Action`], and
//! [`App::apply`](super::app::App::apply) carries it out. The names in kebab case are what a
//! configuration file binds.

use serde::{Deserialize, Serialize};

/// Where a binding holds. The focused part's own bindings come before the global ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Everywhere.
    Global,
    /// While the prompt has the focus: letters are text.
    Input,
    /// While any other pane has the focus: letters may be commands.
    Pane,
}

impl Context {
    pub const ALL: [Self; 3] = [Self::Global, Self::Input, Self::Pane];

    /// The table's name in a configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Input => "input",
            Self::Pane => "pane",
        }
    }

    /// The heading in the help box.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Global => "Anywhere",
            Self::Input => "In the prompt",
            Self::Pane => "In a pane",
        }
    }
}

macro_rules! actions {
    ($($(#[$meta:meta])* $name:ident => $kebab:literal, $help:literal;)*) => {
        /// What to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Action { $($(#[$meta])* $name,)* }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that a configuration file binds.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $kebab,)* }
            }

            /// What it does, in the words of the help box.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

actions! {
    Submit => "submit", "send the prompt";
    Newline => "newline", "start a new line";
    Cancel => "cancel", "stop the answer, or close";
    Quit => "quit", "stop the answer, then quit";
    NewConversation => "new-conversation", "new conversation";
    Suspend => "suspend", "suspend to the shell";
    Redraw => "redraw", "redraw the screen";
    Help => "help", "help";
    FocusNext => "focus-next", "focus the next pane";
    FocusPrevious => "focus-previous", "focus the previous pane";
    FocusInput => "focus-input", "focus the prompt";
    Zoom => "zoom", "zoom the focused pane";
    Freeze => "freeze", "freeze the telemetry";
    NextTheme => "next-theme", "next theme";
    ToggleThinking => "toggle-thinking", "show or fold thoughts";
    ScrollUp => "scroll-up", "scroll up";
    ScrollDown => "scroll-down", "scroll down";
    ScrollPageUp => "scroll-page-up", "scroll up a page";
    ScrollPageDown => "scroll-page-down", "scroll down a page";
    ScrollTop => "scroll-top", "scroll to the start";
    ScrollEnd => "scroll-end", "follow the answer's end";
    CursorLeft => "cursor-left", "left";
    CursorRight => "cursor-right", "right";
    CursorUp => "cursor-up", "up, or the prompt before";
    CursorDown => "cursor-down", "down, or the prompt after";
    WordLeft => "word-left", "a word left";
    WordRight => "word-right", "a word right";
    LineStart => "line-start", "start of the line";
    LineEnd => "line-end", "end of the line";
    TextStart => "text-start", "start of the text";
    TextEnd => "text-end", "end of the text";
    DeleteBefore => "delete-before", "delete the one before";
    DeleteAfter => "delete-after", "delete the one after";
    DeleteWordBefore => "delete-word-before", "delete the word before";
    DeleteWordAfter => "delete-word-after", "delete the word after";
    DeleteToLineStart => "delete-to-line-start", "delete to the line's start";
    DeleteToLineEnd => "delete-to-line-end", "delete to the line's end";
    Yank => "yank", "put back what was deleted";
    Undo => "undo", "undo";
    Redo => "redo", "redo";
    ClearPrompt => "clear-prompt", "clear the prompt";
}

impl Action {
    /// The action with this configuration name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_names() {
        for &action in Action::ALL {
            assert_eq!(
                serde_json::to_value(action).unwrap(),
                serde_json::json!(action.name())
            );
            assert_eq!(Action::from_name(action.name()), Some(action));
        }
    }
}
