//! The configuration and the table of formats.

use holdall::Format;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use crate::errors;

/// The configuration of the environment and `.env`, resolved.
#[pyclass(frozen, get_all, module = "holdall._core")]
pub(crate) struct Settings {
    blob_storage_enabled: bool,
    base_path: String,
    cache_enabled: bool,
    cache_max_size: usize,
    cache_default_ttl: Option<f64>,
    log_level: Option<String>,
    log_debug_enabled: bool,
}

/// Reads the settings; `dotenv` is the text of the `.env` file, if there is one.
#[pyfunction]
pub(crate) fn resolve_settings(
    py: Python<'_>,
    environ: &Bound<'_, PyMapping>,
    dotenv: Option<&str>,
) -> PyResult<Settings> {
    let lookup = |name: &str| environ.get_item(name).ok()?.extract::<String>().ok();
    let settings = holdall::config::Settings::resolve(lookup, dotenv)
        .and_then(|settings| holdall::signing::check_variable(lookup, dotenv).map(|()| settings))
        .map_err(|error| errors::raised(py, &error))?;
    Ok(Settings {
        blob_storage_enabled: settings.blob_storage_enabled,
        base_path: settings.base_path.to_string_lossy().into_owned(),
        cache_enabled: settings.cache_enabled,
        cache_max_size: settings.cache_max_size,
        cache_default_ttl: settings.cache_default_ttl.map(|ttl| ttl.as_secs_f64()),
        log_level: settings.log_level.map(|level| format!("{level:?}").to_uppercase()),
        log_debug_enabled: settings.log_debug_enabled,
    })
}

/// Name, file suffix and whether it is signed, of every format the engine can place.
#[pyfunction]
pub(crate) fn formats() -> Vec<(&'static str, &'static str, bool)> {
    Format::all().iter().map(|one| (one.name(), one.suffix(), one.is_signed())).collect()
}
