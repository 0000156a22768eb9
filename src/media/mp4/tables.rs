//! Sample tables of a progressive file (section 8.6 and 8.7).

use super::bytes::{Child, Fields, malformed};
use super::index::{Sample, SampleBudget, entry_number};
use super::top_level::ReadError;

/// Sound of constant sample size (PCM, G.711) is indexed in blocks of at most this many samples.
const BLOCK_SAMPLES: u32 = 1024;

/// The samples of one `stbl`, in decode order.
pub(super) fn read_samples(
    stbl: Child<'_>,
    is_video: bool,
    budget: &mut SampleBudget,
) -> Result<SampleTable, ReadError> {
    let mut sizes = Sizes::read(stbl)?;
    let mut chunks = Chunks::read(stbl)?;
    let mut durations = Runs::read(stbl.need(b"stts")?)?;
    let mut offsets = match stbl.find(b"ctts")? {
        Some(ctts) => Runs::read(ctts)?,
        None => Runs::empty(stbl),
    };
    if let (Some(unit_bytes), false) = (sizes.constant, is_video) {
        return read_blocks(unit_bytes, sizes.count, &mut chunks, &mut durations, budget);
    }
    let mut syncs = Syncs::read(stbl)?;
    let mut samples = Vec::new();
    let mut dts = 0i64;
    let mut number = 0u32;
    while let Some(chunk) = chunks.next_chunk()? {
        let mut position = chunk.position;
        for _ in 0..chunk.samples.min(sizes.count - number) {
            number += 1;
            let size = sizes.next_size()?;
            let duration = durations.next_value()?.unwrap_or(0);
            // Version 1 is signed; version 0 holds negative offsets in files of some encoders too.
            let composition_offset = offsets.next_value()?.unwrap_or(0).cast_signed();
            let sync = syncs.is_sync(number)?;
            if size > 0 {
                budget.spend()?;
                samples.push(Sample {
                    offset: position,
                    dts,
                    size,
                    duration,
                    composition_offset,
                    sync,
                    description: entry_number(chunk.description),
                });
            }
            position = position
                .checked_add(u64::from(size))
                .ok_or_else(|| malformed(stbl.kind, "places a sample beyond any file"))?;
            dts += i64::from(duration);
        }
    }
    Ok(SampleTable {
        samples,
        unit_bytes: None,
    })
}

/// What [`read_samples`] found.
pub(super) struct SampleTable {
    pub(super) samples: Vec<Sample>,
    /// Set when the samples are blocks of many sound samples of this size.
    pub(super) unit_bytes: Option<u32>,
}

fn read_blocks(
    unit_bytes: u32,
    count: u32,
    chunks: &mut Chunks<'_>,
    durations: &mut Runs<'_>,
    budget: &mut SampleBudget,
) -> Result<SampleTable, ReadError> {
    // Such sound has one duration for all its samples; the first run speaks for all.
    let unit_duration = durations.next_value()?.unwrap_or(1);
    let mut samples = Vec::new();
    let mut dts = 0i64;
    let mut left = count;
    while let Some(chunk) = chunks.next_chunk()? {
        let mut position = chunk.position;
        let mut in_chunk = chunk.samples.min(left);
        left -= in_chunk;
        while in_chunk > 0 {
            let units = in_chunk.min(BLOCK_SAMPLES);
            in_chunk -= units;
            let too_large = || ReadError::Malformed("a sound block is too large".to_owned());
            let size = units.checked_mul(unit_bytes).ok_or_else(too_large)?;
            let duration = units.checked_mul(unit_duration).ok_or_else(too_large)?;
            budget.spend()?;
            samples.push(Sample {
                offset: position,
                dts,
                size,
                duration,
                composition_offset: 0,
                sync: true,
                description: entry_number(chunk.description),
            });
            position = position
                .checked_add(u64::from(size))
                .ok_or_else(too_large)?;
            dts += i64::from(duration);
        }
        if left == 0 {
            break;
        }
    }
    Ok(SampleTable {
        samples,
        unit_bytes: Some(unit_bytes),
    })
}

/// `stsz` (8.7.3.2) or `stz2` (8.7.3.3).
struct Sizes<'a> {
    constant: Option<u32>,
    count: u32,
    field_bits: u8,
    half: Option<u8>,
    fields: Fields<'a>,
}

impl<'a> Sizes<'a> {
    fn read(stbl: Child<'a>) -> Result<Self, ReadError> {
        if let Some(stz2) = stbl.find(b"stz2")? {
            let mut fields = stz2.fields();
            fields.version_and_flags()?;
            let field_bits = fields.u32()? as u8;
            let count = fields.u32()?;
            if !matches!(field_bits, 4 | 8 | 16) {
                return Err(fields.malformed("has an unknown field size"));
            }
            return Ok(Self {
                constant: None,
                count,
                field_bits,
                half: None,
                fields,
            });
        }
        let mut fields = stbl.need(b"stsz")?.fields();
        fields.version_and_flags()?;
        let size = fields.u32()?;
        Ok(Self {
            constant: (size != 0).then_some(size),
            count: fields.u32()?,
            field_bits: 32,
            half: None,
            fields,
        })
    }

    fn next_size(&mut self) -> Result<u32, ReadError> {
        if let Some(size) = self.constant {
            return Ok(size);
        }
        match self.field_bits {
            4 => {
                if let Some(low) = self.half.take() {
                    return Ok(u32::from(low));
                }
                let pair = self.fields.u8()?;
                self.half = Some(pair & 0x0f);
                Ok(u32::from(pair >> 4))
            }
            8 => self.fields.u8().map(u32::from),
            16 => self.fields.u16().map(u32::from),
            _ => self.fields.u32(),
        }
    }
}

/// `stsc` together with `stco` or `co64`, walked chunk by chunk.
struct Chunks<'a> {
    runs: Fields<'a>,
    runs_left: usize,
    upcoming: Option<ChunkRun>,
    current: ChunkRun,
    positions: Fields<'a>,
    positions_left: usize,
    wide: bool,
    number: u32,
}

#[derive(Clone, Copy, Default)]
struct ChunkRun {
    first_chunk: u32,
    samples: u32,
    description: u32,
}

struct Chunk {
    position: u64,
    samples: u32,
    /// Index into `stsd`, from 1.
    description: u32,
}

impl<'a> Chunks<'a> {
    fn read(stbl: Child<'a>) -> Result<Self, ReadError> {
        let mut runs = stbl.need(b"stsc")?.fields();
        runs.version_and_flags()?;
        let runs_left = runs.count(12)?;
        let (wide, found) = match stbl.find(b"co64")? {
            Some(co64) => (true, co64),
            None => (false, stbl.need(b"stco")?),
        };
        let mut positions = found.fields();
        positions.version_and_flags()?;
        let positions_left = positions.count(if wide { 8 } else { 4 })?;
        let mut chunks = Self {
            runs,
            runs_left,
            upcoming: None,
            current: ChunkRun::default(),
            positions,
            positions_left,
            wide,
            number: 0,
        };
        chunks.upcoming = chunks.read_run()?;
        Ok(chunks)
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        if self.positions_left == 0 {
            return Ok(None);
        }
        self.positions_left -= 1;
        self.number += 1;
        if let Some(run) = self.upcoming
            && run.first_chunk <= self.number
        {
            self.current = run;
            self.upcoming = self.read_run()?;
        }
        let position = if self.wide {
            self.positions.u64()?
        } else {
            u64::from(self.positions.u32()?)
        };
        Ok(Some(Chunk {
            position,
            samples: self.current.samples,
            description: self.current.description,
        }))
    }

    fn read_run(&mut self) -> Result<Option<ChunkRun>, ReadError> {
        if self.runs_left == 0 {
            return Ok(None);
        }
        self.runs_left -= 1;
        Ok(Some(ChunkRun {
            first_chunk: self.runs.u32()?,
            samples: self.runs.u32()?,
            description: self.runs.u32()?,
        }))
    }
}

/// Runs of equal values: `stts` (8.6.1.2) and `ctts` (8.6.1.3).
struct Runs<'a> {
    fields: Fields<'a>,
    runs_left: usize,
    value: u32,
    repeats: u32,
}

impl<'a> Runs<'a> {
    fn read(table: Child<'a>) -> Result<Self, ReadError> {
        let mut fields = table.fields();
        fields.version_and_flags()?;
        let runs_left = fields.count(8)?;
        Ok(Self {
            fields,
            runs_left,
            value: 0,
            repeats: 0,
        })
    }

    fn empty(stbl: Child<'a>) -> Self {
        Self {
            fields: Fields::new(&[], stbl.kind),
            runs_left: 0,
            value: 0,
            repeats: 0,
        }
    }

    /// The value of the next sample; `None` after the table's end.
    fn next_value(&mut self) -> Result<Option<u32>, ReadError> {
        while self.repeats == 0 {
            if self.runs_left == 0 {
                return Ok(None);
            }
            self.runs_left -= 1;
            self.repeats = self.fields.u32()?;
            self.value = self.fields.u32()?;
        }
        self.repeats -= 1;
        Ok(Some(self.value))
    }
}

/// `stss` (8.6.2). Without it every sample is a sync sample.
struct Syncs<'a> {
    listed: Option<Fields<'a>>,
    entries_left: usize,
    upcoming: u32,
}

impl<'a> Syncs<'a> {
    fn read(stbl: Child<'a>) -> Result<Self, ReadError> {
        let Some(stss) = stbl.find(b"stss")? else {
            return Ok(Self {
                listed: None,
                entries_left: 0,
                upcoming: 0,
            });
        };
        let mut fields = stss.fields();
        fields.version_and_flags()?;
        let entries_left = fields.count(4)?;
        Ok(Self {
            listed: Some(fields),
            entries_left,
            upcoming: 0,
        })
    }

    /// Whether that sample is one; to be asked of each sample in order, numbered from 1.
    fn is_sync(&mut self, number: u32) -> Result<bool, ReadError> {
        let Some(fields) = &mut self.listed else {
            return Ok(true);
        };
        while self.upcoming < number && self.entries_left > 0 {
            self.entries_left -= 1;
            self.upcoming = fields.u32()?;
        }
        Ok(self.upcoming == number)
    }
}
