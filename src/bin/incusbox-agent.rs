//! What `incusbox-run` starts inside a box.

fn main() -> std::process::ExitCode {
    incusbox::agent::main().into()
}
