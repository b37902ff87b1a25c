//! Structural facts of a text, beyond its words: what a person would point at.
//!
//! [`Facts`] are counted token by token and never look ahead; [`Facts::flags`] turns them
//! into yes-or-no [`Flag`]s, each with a weight a label in the model and, where it can speak
//! for a label, a reason in words.

use super::lists::{
    CODE_OPENERS, CODE_WORDS, LANGUAGES, MAYBE_CODE_OPENERS, QUESTION_WORDS, TEXT_WORDS,
    WRITING_WORDS,
};

/// Counts that a text has given rise to so far. They stop at their type's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub words: u16,
    lines: u16,
    blank_lines: u16,
    indented_lines: u16,
    /// Lines that end in `;`, `{` or `}`, or open with a keyword and hold code signs.
    code_lines: u16,
    code_signs: u16,
    fences: u16,
    identifiers: u16,
    languages: u16,
    code_words: u16,
    text_references: u16,
    role_phrases: u16,
    writing_words: u16,
    speakers: u16,
    names: u16,
    numbers: u16,
    longest_line_words: u16,
    line_words: u16,
    /// The present line began with a word that begins lines of code.
    line_opens_like_code: bool,
    line_opens_with_capital: bool,
    opens_with_question: bool,
    ends_in_question: bool,
}

/// A line break, and the line before it.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The next line begins with space.
    pub indented: bool,
    /// At least one line between is empty.
    pub blank: bool,
    pub last: Option<char>,
}

macro_rules! flags {
    ($($name:ident, $key:literal, $reason:expr, |$f:ident| $test:expr;)*) => {
        /// A yes-or-no fact.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Flag { $($name),* }

        impl Flag {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the weights file.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }

            /// Why it matters, in words; `None` where it only sets the scale.
            pub const fn reason(self) -> Option<&'static str> {
                match self { $(Self::$name => $reason),* }
            }

            fn holds(self, facts: &Facts) -> bool {
                match self { $(Self::$name => { let $f = facts; $test }),* }
            }
        }
    };
}

flags! {
    Fence, "fence", Some("a code fence"), |f| f.fences > 0;
    CodeLine, "code_line", Some("a line of source code"), |f| f.code_lines > 0;
    CodeLines, "code_lines", Some("lines of source code"), |f| f.code_lines > 2;
    Indented, "indented", Some("indented lines"), |f| f.indented_lines > 1;
    CodeSign, "code_sign", Some("an operator or brackets"), |f| f.code_signs > 0;
    CodeSigns, "code_signs", Some("operators and brackets"), |f| f.code_signs > 4;
    Identifier, "identifier", Some("an identifier"), |f| f.identifiers > 0;
    Identifiers, "identifiers", Some("identifiers"), |f| f.identifiers > 2;
    Language, "language", Some("names a programming language"), |f| f.languages > 0;
    CodeWord, "code_word", Some("speaks of programming"), |f| f.code_words > 0;
    CodeWords, "code_words", Some("speaks of programming"), |f| f.code_words > 2;
    TextReference, "text_reference", Some("refers to a given text"), |f| f.text_references > 0;
    Role, "role", Some("sets a role"), |f| f.role_phrases > 0;
    Writing, "writing", Some("asks for a piece of writing"), |f| f.writing_words > 0;
    Passage, "passage", Some("a long passage"), |f| f.longest_line_words >= 50;
    PassageAfterBreak, "passage_after_break", Some("a passage beside a question"),
        |f| f.longest_line_words >= 30 && f.blank_lines > 0;
    Speaker, "speaker", Some("a speaker's line"), |f| f.speakers > 0;
    Speakers, "speakers", Some("a transcript"), |f| f.speakers > 2;
    Name, "name", Some("a name"), |f| f.names > 0;
    Names, "names", Some("several names"), |f| f.names > 2;
    Number, "number", None, |f| f.numbers > 0;
    Question, "question", Some("opens with a question word"), |f| f.opens_with_question;
    Asks, "asks", Some("ends in a question"), |f| f.ends_in_question;
    OneWord, "words_1", None, |f| f.words <= 1;
    FewWords, "words_2_3", None, |f| (2..=3).contains(&f.words);
    Phrase, "words_4_8", None, |f| (4..=8).contains(&f.words);
    Sentence, "words_9_20", None, |f| (9..=20).contains(&f.words);
    Sentences, "words_21_60", None, |f| (21..=60).contains(&f.words);
    Page, "words_61_150", None, |f| (61..=150).contains(&f.words);
    Pages, "words_151", None, |f| f.words > 150;
    OneLine, "lines_1", None, |f| f.lines == 0;
    FewLines, "lines_2_4", None, |f| (1..=3).contains(&f.lines);
    ManyLines, "lines_5", None, |f| f.lines > 3;
}

impl Facts {
    pub(super) const NONE: Self = Self {
        words: 0,
        lines: 0,
        blank_lines: 0,
        indented_lines: 0,
        code_lines: 0,
        code_signs: 0,
        fences: 0,
        identifiers: 0,
        languages: 0,
        code_words: 0,
        text_references: 0,
        role_phrases: 0,
        writing_words: 0,
        speakers: 0,
        names: 0,
        numbers: 0,
        longest_line_words: 0,
        line_words: 0,
        line_opens_like_code: false,
        line_opens_with_capital: false,
        opens_with_question: false,
        ends_in_question: false,
    };

    /// The flags that hold.
    pub fn flags(&self) -> impl Iterator<Item = Flag> + '_ {
        Flag::ALL.iter().copied().filter(|f| f.holds(self))
    }

    /// A word came; `before` is the one before it in the line.
    pub(super) fn word(&mut self, word: &str, before: &str) {
        let is = |list: &[&str]| list.iter().any(|w| w.eq_ignore_ascii_case(word));
        let capital = word.starts_with(char::is_uppercase);
        let after = |list: &[&str]| list.iter().any(|w| w.eq_ignore_ascii_case(before));
        if self.words == 0 {
            self.opens_with_question = is(QUESTION_WORDS);
        }
        if self.line_words == 0 {
            self.line_opens_with_capital = capital;
            if CODE_OPENERS.contains(&word) {
                bump(&mut self.code_lines);
            }
            self.line_opens_like_code = MAYBE_CODE_OPENERS.contains(&word);
        }
        bump_if(
            &mut self.names,
            capital && self.line_words > 0 && word != "I",
        );
        bump_if(
            &mut self.numbers,
            word.starts_with(|c: char| c.is_ascii_digit()),
        );
        bump(&mut self.words);
        bump(&mut self.line_words);
        self.longest_line_words = self.longest_line_words.max(self.line_words);
        self.ends_in_question = false;
        bump_if(&mut self.identifiers, is_identifier(word));
        bump_if(&mut self.languages, is(LANGUAGES));
        bump_if(&mut self.code_words, is(CODE_WORDS));
        bump_if(&mut self.writing_words, is(WRITING_WORDS));
        let refers = is(TEXT_WORDS)
            || (is(&["to"]) && after(&["according"]))
            || (is(&["on"]) && after(&["based"]))
            || (is(&["text"]) && after(&["the", "this", "following"]))
            || (is(&["this", "the"]) && after(&["given"]));
        bump_if(&mut self.text_references, refers);
        let role = (is(&["as"]) && after(&["act"]))
            || (is(&["you"]) && after(&["want"]))
            || (is(&["are"]) && after(&["you"]))
            || is(&["pretend", "imagine", "roleplay"]);
        bump_if(&mut self.role_phrases, role);
    }

    /// A run of signs came; `word` is the last word of the line, `touching` if no space is
    /// between.
    pub(super) fn sign(&mut self, sign: &str, word: &str, touching: bool) {
        self.ends_in_question = sign.ends_with('?');
        bump_if(&mut self.fences, sign.starts_with("```"));
        let c_family = matches!(word, "c" | "C") && touching && matches!(sign, "++" | "#" | "++?");
        bump_if(&mut self.languages, c_family);
        if sign.starts_with('#') && self.line_words == 0 {
            self.line_opens_like_code = true;
        }
        let code = is_code_sign(sign, touching);
        bump_if(&mut self.code_signs, code);
        if code && std::mem::take(&mut self.line_opens_like_code) {
            bump(&mut self.code_lines);
        }
        let speaks = sign.starts_with(':')
            && touching
            && self.line_opens_with_capital
            && (1..=4).contains(&self.line_words);
        bump_if(&mut self.speakers, speaks);
    }

    /// A line ended.
    pub(super) fn line_break(&mut self, line: Line) {
        bump(&mut self.lines);
        bump_if(&mut self.blank_lines, line.blank);
        bump_if(&mut self.indented_lines, line.indented);
        bump_if(
            &mut self.code_lines,
            matches!(line.last, Some(';' | '{' | '}')),
        );
        self.line_words = 0;
        self.line_opens_like_code = false;
    }
}

fn bump(count: &mut u16) {
    *count = count.saturating_add(1);
}

fn bump_if(count: &mut u16, yes: bool) {
    *count = count.saturating_add(u16::from(yes));
}

/// `snake_case` or `camelCase`, with letters on both sides.
fn is_identifier(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes
        .windows(2)
        .any(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase())
        || bytes
            .windows(3)
            .any(|w| w[1] == b'_' && w[0].is_ascii_alphanumeric() && w[2].is_ascii_alphanumeric())
}

/// Signs that prose hardly has. An opening bracket counts where it touches a word: `f(`, `a[`.
fn is_code_sign(sign: &str, touching: bool) -> bool {
    const ANYWHERE: &[&str] = &[
        "==", "!=", "<=", ">=", "->", "=>", "::", "&&", "||", "+=", "-=", "{", "}", "[]", "()",
        "</", "/>", "//", "/*", ");", "};", "\\", "<?",
    ];
    ANYWHERE.iter().any(|s| sign.contains(s))
        || sign == "="
        || (touching && sign.starts_with(['(', '[', ';']))
}
