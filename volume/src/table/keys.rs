//! The ids of a leaf, as offsets from its base, in the smallest of three forms.
//!
//! Owns the forms and the choice among them. Invariant: the offsets ascend, and none is there twice.

/// Words of a bitmap, at most: to find an id in one, the bits before it are counted.
const BITMAP_WORDS_MAX: usize = 32;

/// Offsets, ascending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// A bit for each offset from 0 on.
    Bits(Vec<u64>),
    /// Offsets up to 65 535.
    Short(Vec<u16>),
    /// Any.
    Long(Vec<u64>),
}

impl Keys {
    /// These offsets, in the form that is smallest for them.
    pub(crate) fn new(offsets: Vec<u64>) -> Self {
        let last = offsets.last().copied().unwrap_or(0);
        let short_words = offsets.len().div_ceil(4);
        match usize::try_from(last / 64 + 1) {
            Ok(words) if words <= short_words.min(BITMAP_WORDS_MAX) => {
                let mut bits = vec![0; words];
                for offset in offsets {
                    bits[word_of(offset)] |= bit_of(offset);
                }
                Self::Bits(bits)
            }
            _ => match offsets.iter().map(|offset| u16::try_from(*offset)).collect() {
                Ok(short) => Self::Short(short),
                Err(_) => Self::Long(offsets),
            },
        }
    }

    /// All offsets.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        match self {
            Self::Bits(bits) => {
                let mut offsets =
                    Vec::with_capacity(bits.iter().map(|word| word.count_ones() as usize).sum());
                for (word, base) in bits.iter().zip((0..).step_by(64)) {
                    let mut left = *word;
                    while left != 0 {
                        offsets.push(base + u64::from(left.trailing_zeros()));
                        left &= left - 1;
                    }
                }
                offsets
            }
            Self::Short(short) => short.iter().map(|offset| u64::from(*offset)).collect(),
            Self::Long(long) => long.clone(),
        }
    }

    /// The last offset; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        match self {
            Self::Bits(bits) => {
                let last = bits.iter().rposition(|word| *word != 0);
                last.map_or(0, |at| at as u64 * 64 + 63 - u64::from(bits[at].leading_zeros()))
            }
            Self::Short(short) => short.last().map_or(0, |offset| u64::from(*offset)),
            Self::Long(long) => long.last().copied().unwrap_or(0),
        }
    }

    /// Which of the `len` offsets this is, or before which it would come.
    pub(crate) fn find(&self, offset: u64, len: usize) -> Result<usize, usize> {
        match self {
            Self::Bits(bits) => {
                let Some(&word) = usize::try_from(offset / 64).ok().and_then(|at| bits.get(at)) else {
                    return Err(len);
                };
                let before: u32 = bits[..word_of(offset)].iter().map(|word| word.count_ones()).sum();
                let at = (before + (word & (bit_of(offset) - 1)).count_ones()) as usize;
                if word & bit_of(offset) == 0 { Err(at) } else { Ok(at) }
            }
            Self::Short(short) => {
                u16::try_from(offset).map_err(|_| len).and_then(|offset| short.binary_search(&offset))
            }
            Self::Long(long) => long.binary_search(&offset),
        }
    }

    /// Puts an offset in as the `at`-th, and makes `room` for more if there is none. Whether this form can hold it.
    pub(crate) fn insert(&mut self, at: usize, offset: u64, room: usize) -> bool {
        match self {
            Self::Bits(bits) => {
                let fits = offset / 64 < BITMAP_WORDS_MAX as u64;
                if fits {
                    if bits.len() <= word_of(offset) {
                        bits.reserve_exact(word_of(offset) + 1 - bits.len());
                        bits.resize(word_of(offset) + 1, 0);
                    }
                    bits[word_of(offset)] |= bit_of(offset);
                }
                fits
            }
            Self::Short(short) => u16::try_from(offset).map(|offset| insert(short, at, offset, room)).is_ok(),
            Self::Long(long) => {
                insert(long, at, offset, room);
                true
            }
        }
    }

    /// Bytes that it takes besides itself.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.capacity() * 8,
            Self::Short(short) => short.capacity() * 2,
            Self::Long(long) => long.capacity() * 8,
        }
    }

    /// Takes out the `at`-th, which is this one.
    pub(crate) fn remove(&mut self, at: usize, offset: u64) {
        match self {
            Self::Bits(bits) => bits[word_of(offset)] &= !bit_of(offset),
            Self::Short(short) => drop(short.remove(at)),
            Self::Long(long) => drop(long.remove(at)),
        }
    }
}

fn insert<T>(offsets: &mut Vec<T>, at: usize, offset: T, room: usize) {
    if offsets.len() == offsets.capacity() {
        offsets.reserve_exact(room);
    }
    offsets.insert(at, offset);
}

/// The word of a bitmap that has this offset's bit. Only of offsets that a bitmap can hold.
fn word_of(offset: u64) -> usize {
    (offset / 64) as usize
}

fn bit_of(offset: u64) -> u64 {
    1 << (offset % 64)
}
