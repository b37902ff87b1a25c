//! Records where ggml's CPU and GPU backends were built, and the commit, for `nmos --version`.
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
    }
}
