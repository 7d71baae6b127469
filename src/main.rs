//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    if pgproof::sandbox::is_helper(std::env::args_os()) {
        return pgproof::sandbox::helper_main();
    }
    ExitCode::FAILURE
}
