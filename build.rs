//! Compiles what catches llama.cpp's exceptions and the barrier of its threads, and records where ggml's CPU and GPU backends
//! were built, and the commit, for `nmos --version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // llama.cpp's shared libraries are placed beside the executable (and beside the test
    // binaries) by llama-cpp-sys-2; the executable finds them there wherever it is moved.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN");
    if let Ok(dir) = std::env::var("DEP_LLAMA_BACKENDS_DIR") {
        println!("cargo:rustc-env=NMOS_BACKENDS_DIR={dir}");
        // Where they were built, under the versioned names that the loader asks for.
        let built = std::path::Path::new(&dir).with_file_name("lib");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", built.display());
        compile_guard(&built.with_file_name("include"));
        compile_barrier();
    }
    println!(
        "cargo:rustc-env=NMOS_COMMIT={}",
        commit()
            .as_deref()
            .unwrap_or("not built from a git checkout")
    );
}

/// Compiles the one C++ file, with llama.cpp's own headers as they were installed.
fn compile_guard(headers: &Path) {
    const GUARD: &str = "src/ggml/guard.cpp";
    println!("cargo:rerun-if-changed={GUARD}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(true)
        .file(GUARD)
        .include(headers)
        .compile("nmos_guard");
}

/// Compiles the barrier of ggml's threads, and exports it: the CPU backend, a library that is
/// opened at run time, then finds it before its own.
fn compile_barrier() {
    const BARRIER: &str = "src/ggml/barrier.c";
    println!("cargo:rerun-if-changed={BARRIER}");
    cc::Build::new()
        .std("c11")
        .warnings(true)
        .file(BARRIER)
        .compile("nmos_barrier");
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol=ggml_barrier");
}

/// The commit that is checked out; `None` in a source archive or without git.
fn commit() -> Option<String> {
    // An archive unpacked inside somebody's repository must not take that one's commit.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // Only these files say which commit it is. Cargo would run this on every build for a file
    // that does not exist, such as a branch that git has packed.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--path-format=absolute", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// What a git command prints; `None` where it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
