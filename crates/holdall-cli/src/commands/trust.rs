//! `holdall trust`: shows the pickles that nobody here has signed, and signs those that were looked at.

use std::path::PathBuf;

use clap::Args;
use holdall::clock::Clock;
use holdall::{Blob, BlobManager, BlobOptions, Condition, ErrorKind, SaveOptions, Trust as Level};
use serde_json::json;

use super::Context;
use crate::describe::pickle::Pickle;
use crate::exit::{Exit, Failed, Failure, Outcome};
use crate::interrupt;
use crate::output::{count, shown, style};
use crate::store;
use crate::words;

/// Arguments of `trust`.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// The folder, in place of --store
    dir: Option<PathBuf>,

    /// Sign the value of this key; may be given again
    #[arg(short, long, value_name = "KEY")]
    key: Vec<String>,

    /// Sign all that are shown without it: loading them runs whatever code they hold
    #[arg(long, conflicts_with = "key")]
    all: bool,

    /// Say what would be signed, and sign nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Trust {
    /// Whether somebody has said what to sign.
    fn is_chosen(&self) -> bool {
        self.all || !self.key.is_empty()
    }

    pub(crate) fn run(self, context: &mut Context) -> Outcome {
        let folder = context.folder_or(self.dir.clone())?;
        let own = store::open(&folder)?;
        let options =
            BlobOptions { base_path: folder.clone(), trust: Level::Any, ..BlobOptions::default() };
        let any = store::open_with(options)?;
        let keys = if self.key.is_empty() { unsigned(&own)? } else { self.key.clone() };
        let signs = self.is_chosen() && !self.dry_run;
        let (mut failed, mut odd, mut signed) = (Failed::default(), 0, 0);
        interrupt::listen();
        for key in keys.iter().take_while(|_| !interrupt::is_asked()) {
            let blob = any.load_bytes(key, None)?;
            let pickle = Pickle::read(&blob.payload);
            let format = blob.metadata.record().format;
            if !format.is_signed() {
                odd += 1;
                let what = format!("{} is {format}, which nobody signs", shown(key));
                if context.out.json {
                    context.out.object(&json!({"key": key, "what": what}))?;
                }
                context.out.trouble(what)?;
                continue;
            }
            let result = if signs { sign(&own, blob) } else { Ok(()) };
            // A store that nobody can sign for is no matter of any one value.
            let result = match result {
                Err(error) if store::keeps_all_out(&error, &folder) => return Err(error.into()),
                result => result,
            };
            let what = match &result {
                Ok(()) if signs => "signed".to_owned(),
                Ok(()) if self.is_chosen() => "would be signed".to_owned(),
                Ok(()) => "not signed".to_owned(),
                Err(error) => words::told(error),
            };
            match result {
                Ok(()) => signed += u64::from(self.is_chosen()),
                Err(error) => *failed.count(&error) += 1,
            }
            if context.out.json {
                context.out.object(&json!({
                    "key": key, "what": what, "holds": pickle.holds, "classes": pickle.classes,
                }))?;
                continue;
            }
            let name = style::NAME;
            context.out.line(format!("{name}{}{name:#}: {what}; {}", shown(key), pickle.holds))?;
            for class in &pickle.classes {
                context.out.line(format!("    imports {}", shown(class)))?;
            }
        }
        let found = count(keys.len() as u64, "value");
        match (self.is_chosen(), keys.is_empty()) {
            (true, false) if signed == 0 => {}
            (_, true) => context.out.summary("every pickle and joblib value is signed")?,
            (true, _) => {
                let verb = if signs { "signed" } else { "would sign" };
                context.out.summary(format!("{verb} {}", count(signed, "value")))?;
            }
            (false, _) => context.out.summary(format!(
                "{found} not signed with a key of yours; sign those that you trust with --key KEY, \
                 or --all"
            ))?,
        }
        if interrupt::is_asked() {
            return Ok(Exit::Interrupted);
        }
        Ok(match self.is_chosen() {
            true if odd == 0 => failed.code(signed),
            true => Exit::Findings,
            false => super::done(keys.len() as u64),
        })
    }
}

/// Keys of values that loading refuses because of their signature.
fn unsigned(own: &BlobManager) -> Result<Vec<String>, Failure> {
    const PAGE: usize = 1_000;
    own.backend().list_unlisted()?;
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = own.list("", after.as_deref(), PAGE)?;
        for about in &page {
            if !about.record().format.is_signed() {
                continue;
            }
            match own.try_load_bytes(&about.key, None) {
                Err(error) if error.kind() == ErrorKind::Untrusted => keys.push(about.key.clone()),
                Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error.into()),
                _ => {}
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => return Ok(keys),
        }
    }
}

/// Saves the same bytes, which signs them; unless somebody has saved others meanwhile.
fn sign(own: &BlobManager, blob: Blob) -> holdall::Result<()> {
    let Blob { payload, metadata } = blob;
    let options = SaveOptions {
        condition: Condition::Matches(metadata.etag.clone()),
        ..metadata.save_options(&Clock::system())
    };
    let format = metadata.record().format;
    own.save_parts(&metadata.key, format, vec![payload.into()], options).map(drop)
}
