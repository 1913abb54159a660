//! How far long work is: a bar with rate and time left on a terminal, plain lines elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{
    HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::narrow::Narrow;

/// What is over before needs no bar, which would only flicker.
const SOON: Duration = Duration::from_millis(300);
/// Without a terminal a line is written this often.
const EVERY: Duration = Duration::from_secs(5);

/// The progress of one piece of work, on the standard error.
pub(crate) struct Progress {
    bar: ProgressBar,
    verb: &'static str,
    /// The bar is to be shown, and was not yet.
    is_due: bool,
    lines: bool,
    told: Duration,
}

impl Progress {
    /// Begins; `total` is how many there are, as far as that is known. `shown` is false where
    /// nothing is to be said.
    pub(crate) fn begin(verb: &'static str, total: Option<u64>, shown: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        bar.set_style(style(total.is_some()));
        bar.set_message(verb);
        let is_due = shown && terminal;
        Self { bar, verb, is_due, lines: shown && !terminal, told: Duration::ZERO }
    }

    /// So many are done, of as many as are known now.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) {
        if let Some(total) = total.filter(|total| self.bar.length() != Some(*total)) {
            self.bar.set_length(total.max(done));
            self.bar.set_style(style(true));
        }
        self.bar.set_position(done);
        let elapsed = self.bar.elapsed();
        if self.is_due && elapsed >= SOON {
            self.is_due = false;
            let terminal = Box::new(Narrow(console::Term::buffered_stderr()));
            self.bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(terminal, 10));
        }
        if self.lines && elapsed.saturating_sub(self.told) >= EVERY {
            self.told = elapsed;
            eprintln!("{}", self.line(elapsed));
        }
    }

    /// One more is done.
    pub(crate) fn advance(&mut self) {
        self.at(self.bar.position() + 1, None);
    }

    /// Ends, and leaves no trace on a terminal.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, elapsed: Duration) -> String {
        let done = self.bar.position();
        let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
        let of = self.bar.length().map(|total| format!(" of {}", HumanCount(total)));
        let left = self.bar.length().filter(|_| rate > 0.0).map(|total| {
            let seconds = total.saturating_sub(done) as f64 / rate;
            format!(", {} left", HumanDuration(Duration::from_secs_f64(seconds)))
        });
        let (of, left) = (of.unwrap_or_default(), left.unwrap_or_default());
        format!("{}: {}{of}, {rate:.0}/s{left}", self.verb, HumanCount(done))
    }
}

fn style(is_bounded: bool) -> ProgressStyle {
    let template = match is_bounded {
        true => "{msg} [{bar:20}] {human_pos}/{human_len}  {rate:.dim}  {eta} left",
        false => "{msg} {spinner} {human_pos}  {rate:.dim}  {elapsed}",
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, to: &mut dyn Write| {
            // A text that cannot be written is not shown.
            let _ = write!(to, "{}/s", HumanCount(state.per_sec() as u64));
        })
        .progress_chars("=> ")
}
