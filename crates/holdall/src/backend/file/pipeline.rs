//! Large values: one thread writes while another takes the checksum.

use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use xxhash_rust::xxh3::Xxh3Default;

use super::temp::PIECE;
use crate::backend::Part;

/// Pieces that were prepared and wait to be written.
const AHEAD: usize = 4;

/// The bytes of a piece that nobody changes any more: themselves, or a copy in `copy` if their
/// owner may write to them.
pub(super) fn steady<'a>(part: &Part, piece: &'a [u8], copy: &'a mut Vec<u8>) -> &'a [u8] {
    match part {
        Part::Stable(_) => piece,
        Part::Volatile(_) => {
            copy.clear();
            copy.extend_from_slice(piece);
            copy
        }
    }
}

/// A piece on its way to the file, and the buffer to be used again.
enum Piece<'a> {
    Lent(&'a [u8]),
    Copied(Vec<u8>),
}

/// Writes the parts one after the other to the end of a file; answers with the checksum of the
/// whole. What is written is what the checksum was taken of, whatever the owners of volatile parts
/// do meanwhile.
pub(super) fn write(file: &File, parts: &[Part]) -> std::io::Result<u64> {
    thread::scope(|scope| {
        let (pieces, incoming) = sync_channel::<Piece<'_>>(AHEAD);
        let (emptied, buffers) = sync_channel::<Vec<u8>>(AHEAD + 2);
        let writer = thread::Builder::new()
            .name("holdall-write".into())
            .spawn_scoped(scope, move || write_all(file, &incoming, &emptied))?;
        let mut checksum = Xxh3Default::new();
        'all: for part in parts {
            for piece in part.bytes().chunks(PIECE) {
                let piece = match part {
                    Part::Stable(_) => Piece::Lent(piece),
                    Part::Volatile(_) => {
                        let mut copy = buffers.try_recv().unwrap_or_default();
                        copy.clear();
                        copy.extend_from_slice(piece);
                        Piece::Copied(copy)
                    }
                };
                match &piece {
                    Piece::Lent(bytes) => checksum.update(bytes),
                    Piece::Copied(bytes) => checksum.update(bytes),
                }
                if pieces.send(piece).is_err() {
                    // The writer has failed, and says why.
                    break 'all;
                }
            }
        }
        drop(pieces);
        match writer.join() {
            Ok(written) => written.map(|()| checksum.digest()),
            Err(_) => Err(std::io::Error::other("the thread that writes has panicked")),
        }
    })
}

fn write_all(
    mut file: &File,
    incoming: &Receiver<Piece<'_>>,
    emptied: &SyncSender<Vec<u8>>,
) -> std::io::Result<()> {
    for piece in incoming {
        match piece {
            Piece::Lent(bytes) => file.write_all(bytes)?,
            Piece::Copied(bytes) => {
                file.write_all(&bytes)?;
                let _ = emptied.try_send(bytes);
            }
        }
    }
    Ok(())
}
