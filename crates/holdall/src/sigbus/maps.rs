//! `/proc/self/maps`, read in pieces of any size: lines of `start-end rwxp offset dev inode   path`.
//!
//! Nothing here may allocate or panic: it runs in a signal handler.

/// A slash only at its beginning, which makes the search below a simple one.
const INDEX: &[u8] = b"/index.sqlite-shm";
const PATH: u8 = 6;

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A mapped file of an index.
    Index,
    /// Memory of this process alone, without a file.
    NoFile,
    /// Anything else.
    Another,
}

/// What was read of a line so far.
pub(super) struct Lines {
    address: usize,
    /// Which word of the line comes next, the two addresses counted each.
    word: u8,
    number: usize,
    start: usize,
    is_in: bool,
    is_private: bool,
    has_path: bool,
    /// How many bytes of `INDEX` the path ends with.
    matched: usize,
}

impl Lines {
    /// For the search of an address.
    pub(super) fn of(address: usize) -> Self {
        Self {
            address,
            word: 0,
            number: 0,
            start: 0,
            is_in: false,
            is_private: false,
            has_path: false,
            matched: 0,
        }
    }

    /// What the line says that the address is in, if it ends in this piece.
    pub(super) fn find(&mut self, piece: &[u8]) -> Option<Whose> {
        for byte in piece {
            if *byte != b'\n' {
                self.push(*byte);
            } else if self.is_in {
                return Some(self.whose());
            } else {
                *self = Self::of(self.address);
            }
        }
        None
    }

    fn whose(&self) -> Whose {
        if self.matched == INDEX.len() {
            Whose::Index
        } else if self.is_private && !self.has_path {
            Whose::NoFile
        } else {
            Whose::Another
        }
    }

    fn push(&mut self, byte: u8) {
        match (self.word, byte) {
            (0, b'-') => {
                self.start = self.number;
                self.number = 0;
                self.word = 1;
            }
            (1, b' ') => {
                self.is_in = self.start <= self.address && self.address < self.number;
                self.word = 2;
            }
            (0 | 1, digit) => {
                let digit = char::from(digit).to_digit(16).unwrap_or(0);
                self.number = self.number << 4 | digit as usize;
            }
            (PATH, b' ') if !self.has_path => {}
            (PATH, byte) => {
                self.has_path = true;
                self.matched = match INDEX.get(self.matched) {
                    Some(next) if *next == byte => self.matched + 1,
                    _ => usize::from(byte == b'/'),
                };
            }
            (_, b' ') => self.word += 1,
            (2, byte) => self.is_private = byte == b'p',
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_address_is_does_not_depend_on_the_pieces_that_are_read() {
        let long = "/n".repeat(700);
        let maps = format!(
            "1000-2000 rw-s 00001000 fe:00 12   /a b/.holdall/index/1/index.sqlite-shm\n\
             2000-3000 rw-s 00000000 fe:00 12 /s/.holdall/inline/values.sqlite-shm\n\
             3000-4000 r--p 00000000 fe:00 12 {long}/index.sqlite-shm.so\n\
             4000-5000 rw-p 00000000 00:00 0\n\
             5000-6000 rw-p 00000000 00:00 0                          [heap]\n\
             6000-7000 rw-s 00000000 fe:00 12 {long}/index/index.sqlite-shm\n\
             7fffffffe000-7ffffffff000 rw-p 00000000 00:00 0 \n"
        );
        let expected = [
            (0x0fff, None),
            (0x1000, Some(Whose::Index)),
            (0x1fff, Some(Whose::Index)),
            (0x2000, Some(Whose::Another)),
            (0x3000, Some(Whose::Another)),
            (0x4000, Some(Whose::NoFile)),
            (0x5000, Some(Whose::Another)),
            (0x6000, Some(Whose::Index)),
            (0x7000, None),
            (0x7fff_ffff_e010, Some(Whose::NoFile)),
        ];
        for length in [1, 2, 3, 17, 512, 9_000] {
            for (address, whose) in expected {
                let mut lines = Lines::of(address);
                let found = maps.as_bytes().chunks(length).find_map(|piece| lines.find(piece));
                assert_eq!(found, whose, "{address:x} in pieces of {length}");
            }
        }
    }

    #[test]
    fn nonsense_is_nobodys_and_does_no_harm() {
        let nonsense = [b"nonsense\n--- \n\n", &[255; 15][..]].concat();
        assert_eq!(Lines::of(1).find(&nonsense), None);
    }
}
