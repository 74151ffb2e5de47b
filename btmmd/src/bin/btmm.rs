//! The command `btmm`.

fn main() -> std::process::ExitCode {
    btmmd::cli::driver::main()
}
