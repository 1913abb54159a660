//! `holdall._core`: the engine for the Python package. Private; the face is `python/holdall`.
//!
//! One file per concern: `bridge` is the only one that knows event loops, `errors` the only one
//! that makes exceptions, `convert` turns arguments into the engine's types, and each class has
//! its own file. No thread of the engine takes the interpreter lock while it works.

mod about;
mod bridge;
mod cache;
mod clock;
mod convert;
mod errors;
mod gil;
mod health;
mod hot;
mod keyed;
mod logs;
mod memory;
mod metadata;
mod migration;
mod opcodes;
mod pieces;
mod plain;
mod ready;
mod rotation;
mod settings;
mod store;
mod streams;
mod tier;

use pyo3::prelude::*;

// Locks here rely on the interpreter's (see `cache`): a free-threaded one switches it on again.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    hot::register(module)?;
    ready::register(module)?;
    logs::install();
    module.add_class::<bridge::Done>()?;
    module.add_class::<cache::Cache>()?;
    module.add_class::<clock::ManualClock>()?;
    module.add_class::<health::Checkup>()?;
    module.add_class::<metadata::BlobMetadata>()?;
    module.add_class::<pieces::LargeValue>()?;
    module.add_class::<pieces::ValueReader>()?;
    module.add_class::<pieces::ValueWriter>()?;
    module.add_class::<migration::Migration>()?;
    module.add_class::<rotation::Rotation>()?;
    module.add_class::<settings::Settings>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<streams::FrameSink>()?;
    module.add_class::<streams::FrameSource>()?;
    module.add_class::<tier::Tier>()?;
    module.add_function(wrap_pyfunction!(bridge::abandon, module)?)?;
    module.add_function(wrap_pyfunction!(opcodes::pickle_end, module)?)?;
    module.add_function(wrap_pyfunction!(plain::pickle_plain, module)?)?;
    module.add_function(wrap_pyfunction!(settings::formats, module)?)?;
    module.add_function(wrap_pyfunction!(settings::resolve_settings, module)?)?;
    module.add_function(wrap_pyfunction!(logs::drain_logs, module)?)?;
    module.add_function(wrap_pyfunction!(logs::set_log_level, module)?)?;
    // A store that was closed needs no check when it is next opened after a reboot.
    let close = wrap_pyfunction!(store::limits::close_all, module)?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}
