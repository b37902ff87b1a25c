//! The header of a GGUF file that is to be written: metadata and tensor table.
//!
//! ggml lays the header out, so that what is written is what it reads. Tensor data is the
//! writer's own business: in the table's order, each tensor at the next multiple of the
//! alignment, the first right after the header.

use super::element::GgmlType;
use super::guard;
use super::tensor::Context;
use llama_cpp_sys_2 as sys;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// ggml's limit on a tensor's name, with the zero byte at its end.
const MAX_NAME: usize = 64;

/// A header under construction.
#[derive(Debug)]
pub struct GgufHeader {
    raw: NonNull<sys::gguf_context>,
}

/// A header cannot be taken from a file, or written.
#[derive(Debug, thiserror::Error)]
pub enum GgufHeaderError {
    #[error("{}: ggml cannot read its metadata; the log says why", .0.display())]
    Unreadable(PathBuf),
    #[error("the name {0:?} cannot be in a GGUF file")]
    Name(String),
    #[error("tensor {0} is there twice")]
    Twice(String),
}

impl GgufHeader {
    /// The metadata of the file at `path`, with its alignment, and no tensors.
    ///
    /// # Errors
    /// A file that ggml does not take.
    pub fn with_metadata_of(path: &Path) -> Result<Self, GgufHeaderError> {
        let unreadable = || GgufHeaderError::Unreadable(path.to_owned());
        let name = c_string(path.as_os_str().as_encoded_bytes()).ok_or_else(unreadable)?;
        let mut source = std::ptr::null_mut();
        // SAFETY: `name` is NUL-terminated, and both outlive the call.
        let words = unsafe { guard::nmos_guard_header(name.as_ptr(), &raw mut source) };
        words.check().map_err(|_| unreadable())?;
        let source = Self {
            raw: NonNull::new(source).ok_or_else(unreadable)?,
        };
        // SAFETY: makes an object of its own.
        let copy = unsafe { sys::gguf_init_empty() };
        let copy = Self {
            raw: NonNull::new(copy).ok_or_else(unreadable)?,
        };
        // SAFETY: both are alive and not the same.
        unsafe { sys::gguf_set_kv(copy.raw.as_ptr(), source.raw.as_ptr()) };
        // ggml takes the alignment from the metadata only where it reads a header.
        let bytes = copy.to_bytes();
        let (start, mut raw) = (bytes.as_ptr().cast(), std::ptr::null_mut());
        // SAFETY: `bytes` is valid for its length and is not kept.
        let words = unsafe { guard::nmos_guard_header_of(start, bytes.len(), &raw mut raw) };
        words.check().map_err(|_| unreadable())?;
        NonNull::new(raw)
            .map(|raw| Self { raw })
            .ok_or_else(unreadable)
    }

    /// Tensor data is aligned to this many bytes.
    pub fn alignment(&self) -> u64 {
        // SAFETY: `self` owns a live object.
        unsafe { sys::gguf_get_alignment(self.raw.as_ptr()) as u64 }
    }

    /// Sets an integer, whatever was there.
    ///
    /// # Errors
    /// A key with a zero byte.
    pub fn set_u32(&mut self, key: &str, value: u32) -> Result<(), GgufHeaderError> {
        let key = text(key)?;
        // SAFETY: `self` owns a live object; ggml copies the key.
        unsafe { sys::gguf_set_val_u32(self.raw.as_ptr(), key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a real number, whatever was there.
    ///
    /// # Errors
    /// A key with a zero byte.
    pub fn set_f32(&mut self, key: &str, value: f32) -> Result<(), GgufHeaderError> {
        let key = text(key)?;
        // SAFETY: as in `set_u32`.
        unsafe { sys::gguf_set_val_f32(self.raw.as_ptr(), key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a flag, whatever was there.
    ///
    /// # Errors
    /// A key with a zero byte.
    pub fn set_bool(&mut self, key: &str, value: bool) -> Result<(), GgufHeaderError> {
        let key = text(key)?;
        // SAFETY: as in `set_u32`.
        unsafe { sys::gguf_set_val_bool(self.raw.as_ptr(), key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a text, whatever was there.
    ///
    /// # Errors
    /// A key or text with a zero byte.
    pub fn set_str(&mut self, key: &str, value: &str) -> Result<(), GgufHeaderError> {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: as in `set_u32`; ggml copies the text too.
        unsafe { sys::gguf_set_val_str(self.raw.as_ptr(), key.as_ptr(), value.as_ptr()) };
        Ok(())
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// A key with a zero byte.
    pub fn remove(&mut self, key: &str) -> Result<(), GgufHeaderError> {
        let key = text(key)?;
        // SAFETY: as in `set_u32`.
        unsafe { sys::gguf_remove_key(self.raw.as_ptr(), key.as_ptr()) };
        Ok(())
    }

    /// Adds a tensor after the others; `ne` are its dimensions, the fastest first.
    ///
    /// # Errors
    /// A name that is there already, or cannot be.
    pub fn add_tensor(
        &mut self,
        name: &str,
        ty: GgmlType,
        ne: &[usize],
    ) -> Result<(), GgufHeaderError> {
        let c_name = text(name)?;
        if name.len() >= MAX_NAME {
            return Err(GgufHeaderError::Name(name.to_owned()));
        }
        let context = Context::new(1, 0);
        let tensor = context.tensor(ty, ne);
        // SAFETY: header and tensor are alive. ggml copies the tensor's description, which
        // has no data. It would abort on a name that is there, which is asked before.
        unsafe {
            if sys::gguf_find_tensor(self.raw.as_ptr(), c_name.as_ptr()) >= 0 {
                return Err(GgufHeaderError::Twice(name.to_owned()));
            }
            sys::ggml_set_name(tensor.raw.as_ptr(), c_name.as_ptr());
            sys::gguf_add_tensor(self.raw.as_ptr(), tensor.raw.as_ptr());
        }
        Ok(())
    }

    /// The header as it is in the file, padded to where tensor data begins.
    pub fn to_bytes(&self) -> Vec<u8> {
        // SAFETY: `self` owns a live object; the buffer has as many bytes as it asks for.
        unsafe {
            let mut bytes = vec![0; sys::gguf_get_meta_size(self.raw.as_ptr())];
            sys::gguf_get_meta_data(self.raw.as_ptr(), bytes.as_mut_ptr().cast());
            bytes
        }
    }
}

impl Drop for GgufHeader {
    fn drop(&mut self) {
        // SAFETY: `self` owns it, and frees it once.
        unsafe { sys::gguf_free(self.raw.as_ptr()) };
    }
}

fn c_string(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

fn text(text: &str) -> Result<CString, GgufHeaderError> {
    c_string(text.as_bytes()).ok_or_else(|| GgufHeaderError::Name(text.to_owned()))
}
