//! Makes and keeps boxes.

fn main() -> std::process::ExitCode {
    incusbox::cli::main()
}
