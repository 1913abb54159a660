//! The colours, few and with one meaning each. Where there are none the text says it too.

use anstyle::{AnsiColor, Style};

/// Something failed.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Something needs a look.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// All is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What names a thing: a key, a format.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
/// What is said on the side.
pub(crate) const DIM: Style = Style::new().dimmed();
