//! Writes the file that a blueprint describes, a few megabytes at a time.

use super::ForgeError;
use super::blueprint::{Blueprint, Origin, Target};
use super::filler::Filler;
use super::routers::Routers;
use super::{IoStep, Watch, not_known};
use crate::ggml::{dequantize_row, quantize_rows};
use crate::model::{Gguf, TensorInfo};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes that are made, and written, at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Floats that each thread quantises at a time.
const FLOATS_A_THREAD: usize = 1 << 20;

/// Writes the file from its first byte to its last. `seed` decides what the filler is.
///
/// # Errors
/// A source that cannot be read, a file that cannot be written, and a stop.
pub fn write(
    blueprint: &Blueprint,
    gguf: &Gguf,
    routers: &Routers,
    out: &super::staged::Staged,
    seed: u64,
    watch: &Watch<'_>,
) -> Result<(), ForgeError> {
    let mut writer = Writer {
        out: out.file(),
        path: out.path().to_owned(),
        done: 0,
        watch,
    };
    let sources = Sources::open(gguf)?;
    writer.put(&blueprint.header)?;
    let mut buffers = Buffers::default();
    for (i, target) in blueprint.tensors.iter().enumerate() {
        let gone = |what: &str| ForgeError::Tensor {
            tensor: target.name.clone(),
            what: what.to_owned(),
        };
        match &target.from {
            Origin::Tensor(name) => {
                let source = gguf.tensor(name);
                let tensor = Tensor {
                    target,
                    source: source.ok_or_else(|| gone("it is not in the source any more"))?,
                    sources: &sources,
                    buffers: &mut buffers,
                };
                // Far apart, so that no two tensors share a stretch of the sequence.
                tensor.write(&mut writer, seed.wrapping_add((i as u64) << 40))?;
            }
            Origin::Router(layer) => {
                let rows = routers.rows(*layer);
                let rows = rows.ok_or_else(|| gone("no router has been made for its layer"))?;
                router(target, rows, &mut writer)?;
            }
        }
        let padding = target.bytes.next_multiple_of(blueprint.alignment) - target.bytes;
        writer.put(&vec![0; size(padding)])?;
    }
    Ok(())
}

/// The rows of a router, with zeros where the source has no columns.
fn router(target: &Target, rows: &[f32], writer: &mut Writer<'_>) -> Result<(), ForgeError> {
    let (cols, count) = (size(target.cols.size), size(target.rows.size));
    let mut floats = vec![0.0_f32; cols * count];
    let real = rows.len() / count.max(1);
    for (row, from) in floats.chunks_exact_mut(cols).zip(rows.chunks_exact(real)) {
        for span in target.cols.spans() {
            let (from_at, to, len) = (size(span.from), size(span.to), size(span.len));
            row[to..to + len].copy_from_slice(&from[from_at..from_at + len]);
        }
    }
    let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    writer.put(&bytes)
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

struct Writer<'a> {
    out: &'a File,
    path: PathBuf,
    done: u64,
    watch: &'a Watch<'a>,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ForgeError> {
        self.watch.check()?;
        let mut out = self.out;
        out.write_all(bytes).map_err(|source| ForgeError::Io {
            step: IoStep::Write,
            path: self.path.clone(),
            source,
        })?;
        self.done += bytes.len() as u64;
        self.watch.progress.at(self.done);
        Ok(())
    }
}

/// The source's files, open.
struct Sources(Vec<(PathBuf, File)>);

impl Sources {
    fn open(gguf: &Gguf) -> Result<Self, ForgeError> {
        let open = |path: &PathBuf| match File::open(path) {
            Ok(file) => Ok((path.clone(), file)),
            Err(source) => Err(Self::failed(path, source)),
        };
        let files = gguf.files.iter().map(|file| open(&file.path));
        Ok(Self(files.collect::<Result<_, _>>()?))
    }

    fn failed(path: &std::path::Path, source: io::Error) -> ForgeError {
        ForgeError::Io {
            step: IoStep::Read,
            path: path.to_owned(),
            source,
        }
    }

    /// Reads bytes of a tensor, the first at `offset` in it.
    fn read(&self, tensor: &TensorInfo, offset: u64, into: &mut [u8]) -> Result<(), ForgeError> {
        let (path, file) = &self.0[tensor.file];
        file.read_exact_at(into, tensor.offset + offset)
            .map_err(|source| Self::failed(path, source))
    }
}

/// Reused from tensor to tensor.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// One tensor on its way.
struct Tensor<'a> {
    target: &'a Target,
    source: &'a TensorInfo,
    sources: &'a Sources,
    buffers: &'a mut Buffers,
}

impl Tensor<'_> {
    fn write(self, writer: &mut Writer<'_>, seed: u64) -> Result<(), ForgeError> {
        if self.target.ty != self.source.ty {
            self.quantise(writer)
        } else if self.target.is_same() {
            self.copy(writer)
        } else {
            self.lay_out(writer, seed)
        }
    }

    /// As it is.
    fn copy(self, writer: &mut Writer<'_>) -> Result<(), ForgeError> {
        let mut at = 0;
        while at < self.source.bytes {
            let n = size(self.source.bytes - at).min(CHUNK_BYTES);
            self.buffers.input.resize(n, 0);
            self.sources
                .read(self.source, at, &mut self.buffers.input)?;
            writer.put(&self.buffers.input)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Real rows and columns in their places, filler everywhere else.
    fn lay_out(self, writer: &mut Writer<'_>, seed: u64) -> Result<(), ForgeError> {
        let target = self.target;
        let ty = target.ty;
        let mut filler = Filler::new(ty, seed).ok_or_else(|| not_known(&target.name, ty))?;
        // Both are whole blocks: the blueprint has seen to it.
        let bytes_of = |elements: u64| size(elements / ty.block_elems() * ty.block_bytes());
        let row_out = bytes_of(target.cols.size);
        let row_in = size(self.source.row_bytes());
        let rows_a_chunk = (CHUNK_BYTES / row_out).max(1) as u64;
        let Buffers { input, output } = self.buffers;
        let mut first = 0;
        while first < target.rows.size {
            let end = (first + rows_a_chunk).min(target.rows.size);
            output.resize(size(end - first) * row_out, 0);
            filler.fill(output);
            for span in target.rows.spans() {
                let (from, to) = (span.to.max(first), (span.to + span.len).min(end));
                if from >= to || target.cols.spans().is_empty() {
                    continue;
                }
                input.resize(size(to - from) * row_in, 0);
                let source_row = span.from + (from - span.to);
                self.sources
                    .read(self.source, source_row * row_in as u64, input)?;
                let rows = output[size(from - first) * row_out..].chunks_exact_mut(row_out);
                for (row, real) in rows.zip(input.chunks_exact(row_in)) {
                    for part in target.cols.spans() {
                        let (from, to, len) =
                            (bytes_of(part.from), bytes_of(part.to), bytes_of(part.len));
                        row[to..to + len].copy_from_slice(&real[from..from + len]);
                    }
                }
            }
            if (target.factor - 1.0).abs() >= f64::EPSILON {
                scale(output, target.factor);
            }
            writer.put(output)?;
            first = end;
        }
        Ok(())
    }

    /// In another type.
    fn quantise(self, writer: &mut Writer<'_>) -> Result<(), ForgeError> {
        let (from, to) = (self.source.ty, self.target.ty);
        let row = size(self.source.dims[0]);
        let rows = size(self.target.rows.size);
        let (row_in, row_out) = (
            size(self.source.row_bytes()),
            size(self.target.bytes) / rows.max(1),
        );
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let rows_a_thread = (FLOATS_A_THREAD / row).max(1);
        let Buffers { input, output } = self.buffers;
        let mut first = 0;
        while first < rows {
            let n = (rows_a_thread * threads).min(rows - first);
            input.resize(n * row_in, 0);
            output.resize(n * row_out, 0);
            self.sources
                .read(self.source, (first * row_in) as u64, input)?;
            let parts = input
                .chunks(rows_a_thread * row_in)
                .zip(output.chunks_mut(rows_a_thread * row_out));
            std::thread::scope(|scope| {
                for (packed, out) in parts {
                    scope.spawn(move || {
                        let mut floats = vec![0.0; packed.len() / row_in * row];
                        let each = packed.chunks_exact(row_in);
                        for (packed, floats) in each.zip(floats.chunks_exact_mut(row)) {
                            dequantize_row(from, packed, floats);
                        }
                        quantize_rows(to, &floats, row, out);
                    });
                }
            });
            writer.put(output)?;
            first += n;
        }
        Ok(())
    }
}

/// Multiplies floats in the byte order of a file.
fn scale(floats: &mut [u8], factor: f64) {
    for bytes in floats.chunks_exact_mut(4) {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let scaled = (f64::from(value) * factor) as f32;
        bytes.copy_from_slice(&scaled.to_le_bytes());
    }
}
