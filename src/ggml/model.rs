//! A model that llama.cpp has loaded, and its vocabulary.

use super::error::LlamaError;
use super::guard;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null};

/// Longest text that is cut into tokens at once, in bytes: llama.cpp counts in 32 bits.
const MAX_TEXT: usize = 1 << 30;

/// A model that llama.cpp has loaded. It never changes: threads may share it.
#[derive(Debug)]
pub struct Model {
    raw: NonNull<sys::llama_model>,
}

// SAFETY: llama.cpp's models are not bound to a thread.
unsafe impl Send for Model {}
// SAFETY: what is asked of a shared model only reads it; contexts do not change it.
unsafe impl Sync for Model {}

/// A token as the vocabulary has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    pub text: Vec<u8>,
    /// What it is for, in llama.cpp's bits.
    pub attributes: i32,
}

impl TokenEntry {
    /// Whether it is one that text cannot be cut into.
    pub fn is_control(&self) -> bool {
        self.has(sys::LLAMA_TOKEN_ATTR_CONTROL) || self.has(sys::LLAMA_TOKEN_ATTR_UNKNOWN)
    }

    /// Whether it takes the white space before its name with it.
    pub fn strips_before(&self) -> bool {
        self.has(sys::LLAMA_TOKEN_ATTR_LSTRIP)
    }

    /// Whether it takes the white space after its name with it.
    pub fn strips_after(&self) -> bool {
        self.has(sys::LLAMA_TOKEN_ATTR_RSTRIP)
    }

    fn has(&self, attribute: sys::llama_token_attr) -> bool {
        self.attributes.cast_unsigned() & attribute != 0
    }
}

impl Model {
    /// Takes a model over, to be freed when this is dropped.
    ///
    /// # Safety
    /// It is alive, and nobody else owns it.
    pub(super) unsafe fn own(raw: NonNull<sys::llama_model>) -> Self {
        Self { raw }
    }

    pub(super) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    /// A value of the file's metadata as llama.cpp writes it; `None` where the file has none.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut text = [0_u8; 128];
        // SAFETY: the model is alive; the key ends with a zero byte, and no more is written than
        // the buffer holds.
        let len = unsafe {
            sys::llama_model_meta_val_str(
                self.raw(),
                key.as_ptr(),
                text.as_mut_ptr().cast(),
                text.len(),
            )
        };
        let len = usize::try_from(len).ok()?.min(text.len() - 1);
        Some(String::from_utf8_lossy(&text[..len]).into_owned())
    }

    /// Why it cannot be asked for token after token.
    pub fn obstacle(&self) -> Option<&'static str> {
        let raw = self.raw.as_ptr();
        // SAFETY: pure queries of a model that is alive.
        let (encodes, diffuses) = unsafe {
            (
                sys::llama_model_has_encoder(raw),
                sys::llama_model_is_diffusion(raw),
            )
        };
        match (encodes, diffuses) {
            (true, _) => Some("it reads a text whole before it answers"),
            (_, true) => Some("it does not write token after token"),
            // Its graph does not choose the tokens whose logits are asked for.
            _ if self.architecture().as_deref() == Some("cogvlm") => {
                Some("llama.cpp mistakes one token's logits for another's")
            }
            _ => None,
        }
    }

    /// Whether it carries a state from token to token, in all of its layers or in some, which
    /// cannot give a token back.
    pub fn recurs(&self) -> bool {
        let raw = self.raw.as_ptr();
        // SAFETY: pure queries of a model that is alive.
        unsafe { sys::llama_model_is_recurrent(raw) || sys::llama_model_is_hybrid(raw) }
    }

    /// Whether llama.cpp computes it as it was made in a context of one sequence alone: with more
    /// over one pool of cells, it leaves MiniMax's sparse attention out.
    pub fn is_for_one_sequence(&self) -> bool {
        self.architecture().as_deref() == Some("minimax-m3")
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        // SAFETY: `self` owns a model that is alive; a pure query.
        unsafe { sys::llama_model_get_vocab(self.raw.as_ptr()) }
    }

    /// The architecture that the file names.
    pub(super) fn architecture(&self) -> Option<String> {
        self.metadata("general.architecture")
    }

    /// Tokens of the vocabulary.
    pub fn n_tokens(&self) -> usize {
        // SAFETY: as in `vocab`.
        usize::try_from(unsafe { sys::llama_vocab_n_tokens(self.vocab()) }).unwrap_or(0)
    }

    /// The token that begins a text, whether or not prompts get it; none where there is none.
    pub fn begin(&self) -> Option<i32> {
        // SAFETY: as in `vocab`.
        self.token(unsafe { sys::llama_vocab_bos(self.vocab()) })
    }

    /// Whether every prompt begins with [`Model::begin`].
    pub fn adds_begin(&self) -> bool {
        // SAFETY: as in `vocab`.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab()) }
    }

    /// The token that ends a text.
    pub fn end_of_text(&self) -> Option<i32> {
        // SAFETY: as in `vocab`.
        self.token(unsafe { sys::llama_vocab_eos(self.vocab()) })
    }

    /// The token that ends a turn of a conversation.
    pub fn end_of_turn(&self) -> Option<i32> {
        // SAFETY: as in `vocab`.
        self.token(unsafe { sys::llama_vocab_eot(self.vocab()) })
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: i32) -> bool {
        // SAFETY: as in `vocab`; any number is looked up in a set.
        unsafe { sys::llama_vocab_is_eog(self.vocab(), token) }
    }

    /// `token`, if the vocabulary has it: a file may name any.
    fn token(&self, token: i32) -> Option<i32> {
        let index = usize::try_from(token).ok()?;
        (index < self.n_tokens()).then_some(token)
    }

    /// A token as the vocabulary has it; `None` where it has none of this number.
    pub fn entry(&self, token: i32) -> Option<TokenEntry> {
        let token = self.token(token)?;
        let (mut text, mut attributes) = (null(), 0);
        // SAFETY: the vocabulary is alive, and both pointers are to values that outlive the call.
        let words = unsafe {
            guard::nmos_guard_token(self.vocab(), token, &raw mut text, &raw mut attributes)
        };
        words.check().ok()?;
        if text.is_null() {
            return None;
        }
        // SAFETY: a text of the vocabulary, which lives as long as the model.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes().to_vec();
        Some(TokenEntry { text, attributes })
    }

    /// Cuts `text` into tokens. Where `special`, the names of control tokens in it are those.
    ///
    /// # Errors
    /// Where the vocabulary has no token for a part of it.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<i32>, LlamaError> {
        let fail = |why: String| LlamaError::Tokenize { why };
        if text.len() > MAX_TEXT {
            return Err(fail(format!("a text of {} bytes is too long", text.len())));
        }
        let bytes = i32::try_from(text.len()).unwrap_or(i32::MAX);
        // One a byte is more than any vocabulary makes, but for those that put a space before.
        let mut tokens: Vec<i32> = vec![0; text.len() + 8];
        for _ in 0..2 {
            let most = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            let mut n = 0;
            // SAFETY: the vocabulary is alive; text and tokens are as long as is said, and
            // outlive the call.
            let words = unsafe {
                guard::nmos_guard_tokenize(
                    self.vocab(),
                    text.as_ptr().cast(),
                    bytes,
                    tokens.as_mut_ptr(),
                    most,
                    special,
                    &raw mut n,
                )
            };
            words.check().map_err(fail)?;
            match usize::try_from(n) {
                Ok(n) => {
                    tokens.truncate(n);
                    return match tokens.iter().find(|&&t| self.token(t).is_none()) {
                        None => Ok(tokens),
                        Some(_) => Err(fail("its vocabulary is incomplete".to_owned())),
                    };
                }
                Err(_) => tokens.resize(n.unsigned_abs() as usize, 0),
            }
        }
        Err(fail("llama.cpp does not say how many tokens".to_owned()))
    }

    /// The bytes of a token's text; those of a control token are its name where `special`,
    /// else none. None for a number that is no token.
    pub fn piece(&self, token: i32, special: bool) -> Vec<u8> {
        let Some(token) = self.token(token) else {
            return Vec::new();
        };
        let mut piece = vec![0; 64];
        for _ in 0..2 {
            let most = i32::try_from(piece.len()).unwrap_or(i32::MAX);
            let mut n = 0;
            // SAFETY: the vocabulary is alive; `piece` is as long as is said, and outlives the
            // call.
            let words = unsafe {
                guard::nmos_guard_piece(
                    self.vocab(),
                    token,
                    piece.as_mut_ptr().cast::<c_char>(),
                    most,
                    special,
                    &raw mut n,
                )
            };
            if let Err(why) = words.check() {
                tracing::debug!(token, why, "a token without a text");
                return Vec::new();
            }
            match usize::try_from(n) {
                Ok(n) => {
                    piece.truncate(n);
                    return piece;
                }
                Err(_) => piece.resize(n.unsigned_abs() as usize, 0),
            }
        }
        Vec::new()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: `self` owns it, and frees it once; contexts own a share of `self`.
        let words = unsafe { guard::nmos_guard_free_model(self.raw.as_ptr()) };
        if let Err(why) = words.check() {
            tracing::warn!(why, "a model was not freed whole");
        }
    }
}

/// Applies a chat template that llama.cpp knows by name or by its text. `None` where it does not,
/// or where the text holds a zero byte.
pub fn apply_template(template: &str, messages: &[(&str, &str)], answer: bool) -> Option<String> {
    let template = CString::new(template).ok()?;
    let texts = messages
        .iter()
        .map(|(role, text)| Some((CString::new(*role).ok()?, CString::new(*text).ok()?)))
        .collect::<Option<Vec<_>>>()?;
    let raw: Vec<_> = texts
        .iter()
        .map(|(role, content)| sys::llama_chat_message {
            role: role.as_ptr(),
            content: content.as_ptr(),
        })
        .collect();
    let mut text = vec![0_u8; 4096];
    for _ in 0..2 {
        let most = i32::try_from(text.len()).ok()?;
        let mut n = 0;
        // SAFETY: all texts end with a zero byte, and they and `text`, which is as long as is
        // said, outlive the call.
        let words = unsafe {
            guard::nmos_guard_template(
                template.as_ptr(),
                raw.as_ptr(),
                raw.len(),
                answer,
                text.as_mut_ptr().cast::<c_char>(),
                most,
                &raw mut n,
            )
        };
        words.check().ok()?;
        let n = usize::try_from(n).ok()?;
        if n <= text.len() {
            text.truncate(n);
            return String::from_utf8(text).ok();
        }
        text.resize(n, 0);
    }
    None
}
