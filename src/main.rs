//! The `nmos` executable: everything is in the library.
fn main() -> std::process::ExitCode {
    nmos::cli::main()
}
