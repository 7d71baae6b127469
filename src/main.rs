//! The command line's entry: the box's helper if this process was started as one, the command otherwise.

use std::process::ExitCode;

use pgproof::sandbox;

mod cli;

fn main() -> ExitCode {
    // The helper must find a process without threads and without anything open.
    if sandbox::is_helper(std::env::args_os()) {
        return sandbox::helper_main();
    }
    cli::main()
}
