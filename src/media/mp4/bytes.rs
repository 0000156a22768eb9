//! Big-endian fields and child boxes inside bytes already in memory.

use super::top_level::ReadError;

/// A box type as it stands in the file.
pub(super) type FourCc = [u8; 4];

/// Reads fields from the front of a slice. Running out of bytes is [`ReadError::Malformed`].
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    inside: FourCc,
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8], inside: FourCc) -> Self {
        Self {
            rest: payload,
            inside,
        }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (front, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.malformed("ends inside a field"))?;
        self.rest = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (front, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed("ends inside a field"))?;
        self.rest = rest;
        Ok(*front)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), ReadError> {
        self.take(count).map(drop)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, ReadError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, ReadError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn four_cc(&mut self) -> Result<FourCc, ReadError> {
        self.array()
    }

    /// Version and flags of a full box (section 4.2).
    pub(super) fn version_and_flags(&mut self) -> Result<(u8, u32), ReadError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// An entry count, refused when the box is too short for that many entries of `entry_bytes`.
    pub(super) fn count(&mut self, entry_bytes: usize) -> Result<usize, ReadError> {
        let count = self.u32()? as usize;
        match count.checked_mul(entry_bytes) {
            Some(bytes) if bytes <= self.left() => Ok(count),
            _ => Err(self.malformed("counts more entries than it holds")),
        }
    }

    pub(super) fn malformed(&self, what: &str) -> ReadError {
        malformed(self.inside, what)
    }
}

pub(super) fn malformed(inside: FourCc, what: &str) -> ReadError {
    ReadError::Malformed(format!("box {} {what}", printable(inside)))
}

/// A box type for messages: bytes outside printable ASCII are escaped.
pub(super) fn printable(four_cc: FourCc) -> String {
    four_cc.escape_ascii().to_string()
}

/// One child box: its type and payload, and the whole of it with its header.
#[derive(Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) kind: FourCc,
    pub(super) payload: &'a [u8],
    pub(super) whole: &'a [u8],
}

impl<'a> Child<'a> {
    pub(super) fn fields(&self) -> Fields<'a> {
        Fields::new(self.payload, self.kind)
    }

    pub(super) fn children(&self) -> Children<'a> {
        Children {
            rest: self.payload,
            parent: self.kind,
        }
    }

    /// The first child of that type.
    pub(super) fn find(&self, kind: &FourCc) -> Result<Option<Child<'a>>, ReadError> {
        for child in self.children() {
            let child = child?;
            if child.kind == *kind {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// The first child of that type; its absence is malformed.
    pub(super) fn need(&self, kind: &FourCc) -> Result<Child<'a>, ReadError> {
        self.find(kind)?
            .ok_or_else(|| malformed(self.kind, &format!("has no {}", printable(*kind))))
    }
}

/// The boxes inside a payload, one after another. Each level is walked by its own loop, so that
/// nesting in the file never becomes recursion here.
pub(super) struct Children<'a> {
    rest: &'a [u8],
    parent: FourCc,
}

impl<'a> Children<'a> {
    pub(super) fn new(payload: &'a [u8], parent: FourCc) -> Self {
        Self {
            rest: payload,
            parent,
        }
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Child<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        // QuickTime ends some lists with four zero bytes, which are not a box.
        if self.rest.len() < 8 {
            return None;
        }
        let child = split_box(self.rest, self.parent);
        match child {
            Ok(child) => {
                self.rest = &self.rest[child.whole.len()..];
                Some(Ok(child))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn split_box(bytes: &[u8], parent: FourCc) -> Result<Child<'_>, ReadError> {
    let mut fields = Fields::new(bytes, parent);
    let size_word = fields.u32()?;
    let kind = fields.four_cc()?;
    let size = match size_word {
        0 => bytes.len(),
        1 => usize::try_from(fields.u64()?).map_err(|_| malformed(kind, "is too large"))?,
        size => size as usize,
    };
    let header = bytes.len() - fields.left();
    if size < header || size > bytes.len() {
        return Err(malformed(kind, "does not fit into the box around it"));
    }
    Ok(Child {
        kind,
        payload: &bytes[header..size],
        whole: &bytes[..size],
    })
}
