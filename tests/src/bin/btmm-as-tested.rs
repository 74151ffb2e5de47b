//! `btmm` once more, because the tests of one package cannot name the programs of another.

fn main() -> std::process::ExitCode {
    btmmd::cli::driver::main()
}
