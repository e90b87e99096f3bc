//! Numbers that are mostly small: seven bits a byte, the lowest first, the highest bit set but in the last.
//!
//! Owns these, and the cursor that takes them from untrusted bytes. Invariant: taking never panics, nor reads behind the
//! end.

use crate::index_file::IndexFileError;

/// Appends a number.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends a difference that may be negative: the sign is the lowest bit.
pub(super) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put(bytes, (number << 1 ^ number >> 63) as u64);
}

/// What is left to take.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, IndexFileError> {
        let (byte, rest) = self.0.split_first().ok_or(IndexFileError::Damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, IndexFileError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.longer(first) }
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, IndexFileError> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], IndexFileError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(IndexFileError::Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn longer(&mut self, first: u8) -> Result<u64, IndexFileError> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has one bit left.
            if shift == 63 && byte > 1 {
                return Err(IndexFileError::Damaged);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(IndexFileError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((any::<u64>(), 0u32..64), 0..50)) {
            let numbers: Vec<_> = numbers.into_iter().map(|(number, shift)| number >> shift).collect();
            let mut bytes = Vec::new();
            for number in &numbers {
                put(&mut bytes, *number);
                put_signed(&mut bytes, *number as i64);
                put_signed(&mut bytes, (*number as i64).wrapping_neg());
            }
            let mut cursor = Cursor(&bytes);
            for number in numbers {
                prop_assert_eq!(cursor.number().ok(), Some(number));
                prop_assert_eq!(cursor.signed().ok(), Some(number as i64));
                prop_assert_eq!(cursor.signed().ok(), Some((number as i64).wrapping_neg()));
            }
            prop_assert!(cursor.byte().is_err());
        }
    }

    #[test]
    fn numbers_without_end_and_beyond_64_bits_are_refused() {
        for bytes in [&[0x80; 30][..], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(Cursor(bytes).number().is_err());
        }
        assert_eq!(
            Cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).number().ok(),
            Some(u64::MAX)
        );
    }
}
