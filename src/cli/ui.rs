//! What a person sees while something runs: bars on a terminal, plain lines elsewhere, nothing when asked for nothing.
//!
//! All of it goes to standard error; standard output has results only. What a build printed is a stranger's text: its
//! control characters never reach the terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use pgproof::text::printable;

/// How progress is shown.
pub(crate) struct Ui {
    mode: Mode,
}

enum Mode {
    /// Bars that move.
    Terminal(MultiProgress),
    /// A line when something starts or ends.
    Lines(Mutex<std::io::Stderr>),
    /// Nothing.
    Silent,
}

/// Something that takes a while; dropped, its bar is gone.
pub(crate) struct Activity<'ui> {
    ui: &'ui Ui,
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
}

impl Ui {
    /// Bars if standard error is a terminal, lines if it is not, nothing if `silent`.
    pub(crate) fn new(silent: bool) -> Self {
        let mode = if silent {
            Mode::Silent
        } else if std::io::stderr().is_terminal() {
            Mode::Terminal(MultiProgress::new())
        } else {
            Mode::Lines(Mutex::new(std::io::stderr()))
        };
        Self { mode }
    }

    /// Says something once.
    pub(crate) fn say(&self, text: &str) {
        let text = printable(text);
        match &self.mode {
            // Progress that cannot be shown must not end the work.
            Mode::Terminal(bars) => drop(bars.println(text)),
            Mode::Lines(stderr) => {
                if let Ok(mut stderr) = stderr.lock() {
                    drop(writeln!(stderr, "{text}"));
                }
            }
            Mode::Silent => {}
        }
    }

    /// Starts something that has a known number of bytes to go through.
    pub(crate) fn transfer(&self, name: &str, bytes: u64) -> Activity<'_> {
        let style = "{prefix:>9} {bar:30} {decimal_bytes:>9} / {decimal_total_bytes} {decimal_bytes_per_sec} {msg}";
        self.activity(name, ProgressBar::new(bytes), style)
    }

    /// Starts something whose length nobody knows.
    pub(crate) fn work(&self, name: &str) -> Activity<'_> {
        self.activity(name, ProgressBar::new_spinner(), "{prefix:>9} {spinner} {elapsed} {wide_msg}")
    }

    fn activity(&self, name: &str, bar: ProgressBar, style: &str) -> Activity<'_> {
        let bar = match &self.mode {
            Mode::Terminal(bars) => {
                let bar = bars.add(bar);
                if let Ok(style) = ProgressStyle::with_template(style) {
                    bar.set_style(style);
                }
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Mode::Lines(_) | Mode::Silent => None,
        };
        Activity { ui: self, bar, name: name.to_owned(), started: Instant::now() }
    }
}

impl Activity<'_> {
    /// `bytes` more are through.
    pub(crate) fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Something that had `from` bytes has `to` now.
    pub(crate) fn moved(&self, from: u64, to: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position((bar.position() + to).saturating_sub(from));
        }
    }

    /// What is going on now; a line of its own where there are no bars.
    pub(crate) fn now(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                if bar.length().is_none() {
                    // The time shown is that of what is going on.
                    bar.reset_elapsed();
                }
                bar.set_message(printable(what));
            }
            None => self.ui.say(&format!("{:>9} {what}", self.name)),
        }
    }

    /// What is going on now, if there is a bar to show it: too frequent for lines.
    pub(crate) fn glimpse(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(what));
        }
    }

    /// It is done: `result` stays on the screen.
    pub(crate) fn done(&self, result: &str) {
        self.ui.say(&format!("{:>9} {result} ({})", self.name, duration(self.started.elapsed())));
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12.3 s` or `2 minutes`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(100) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        HumanDuration(duration).to_string()
    }
}

/// `34.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}
