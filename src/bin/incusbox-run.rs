//! Runs a command in a box as if it ran here.

fn main() -> std::process::ExitCode {
    incusbox::run::main()
}
