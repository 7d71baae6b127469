//! Which tests run: the fast ones always, the others when the environment asks for them. CI asks for all, so that what is
//! missing there fails instead of being left out.

/// What a test needs that not every machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// User namespaces: `PGPROOF_TEST_SANDBOX`.
    Sandbox,
    /// A mirror of packages, programs that only CI installs, or minutes: `PGPROOF_TEST_SLOW`.
    Slow,
}

/// Whether a test that has this need is to run.
pub(crate) fn open(need: Need) -> bool {
    let variable = match need {
        Need::Sandbox => "PGPROOF_TEST_SANDBOX",
        Need::Slow => "PGPROOF_TEST_SLOW",
    };
    let open = std::env::var_os(variable).is_some();
    if !open {
        eprintln!("not run: {variable} is not set");
    }
    open
}
