//! The `mpuc` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mpuc::main()
}
