//! Compares a checkpoint with what a model wants, before anything is loaded.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Checkpoint, Dtype, Problem, Result, SafeFile, WeightsError,
    encoding::Encoding,
    header::Entry,
    sanitize::{self, Extra, Part},
};

/// What a checkpoint that fits holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Stored tensors, scales and left-out ones included.
    pub n_tensors: usize,
    /// Their bytes on disk, without headers.
    pub size_bytes: u64,
    /// The bytes that loading the wanted tensors reads, scales included: the total for a progress bar.
    pub load_bytes: u64,
    /// Stored tensors of each element type.
    pub dtypes: BTreeMap<Dtype, usize>,
    /// Tensors of multi-token-prediction layers, which are left out.
    pub n_mtp_tensors: usize,
    /// Their bytes.
    pub mtp_bytes: u64,
    /// Known harmless tensors, which are left out: rotary tables, the copy of a tied head.
    pub n_ignored_tensors: usize,
}

/// A stored tensor that has the wanted shape and a type that can be read.
pub(crate) struct Fitted<'a> {
    pub(crate) name: &'a str,
    pub(crate) file: &'a SafeFile,
    pub(crate) entry: &'a Entry,
    /// How its values are stored.
    pub(crate) encoding: Encoding,
    /// The scales of a quantised tensor.
    pub(crate) scale: Option<Box<Fitted<'a>>>,
}

impl Fitted<'_> {
    /// Returns the number of values.
    pub(crate) fn n_values(&self) -> usize {
        self.encoding.n_values(self.entry)
    }
}

impl<'a> Fitted<'a> {
    /// Returns the stored bytes of a part, the `nth` of `n_parts` along the leading dimensions.
    pub(crate) fn share(&self, nth: usize, n_parts: usize) -> Result<Cow<'a, [u8]>> {
        self.file.read(&self.share_range(nth, n_parts))
    }

    /// Returns where such a part lies in its file.
    pub(crate) fn share_range(&self, nth: usize, n_parts: usize) -> Range<u64> {
        let n_bytes = self.entry.n_bytes() / n_parts.max(1) as u64;
        let begin = self.entry.range.start + nth as u64 * n_bytes;
        begin..begin + n_bytes
    }

    /// Tells the system that such a part has been used.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn release_share(&self, nth: usize, n_parts: usize) {
        self.file.release(&self.share_range(nth, n_parts));
    }
}

impl Checkpoint {
    /// Checks that the checkpoint holds the wanted tensors, names and shapes as in [`Checkpoint::read_f32`], and no others.
    ///
    /// Multi-token-prediction layers, scales of FP8 tensors and known harmless tensors may be there.
    ///
    /// # Errors
    /// [`WeightsError::Unfit`] with every missing, misshapen, wrongly typed and extra tensor.
    pub fn check(&self, wanted: &[(String, Vec<usize>)]) -> Result<Report> {
        let mut problems = Vec::new();
        let mut used: HashSet<String> = HashSet::new();
        for (name, shape) in wanted {
            for part in sanitize::parts(name, shape, self) {
                match self.fit(&part) {
                    Ok(fitted) => used.extend(fitted.scale.map(|scale| scale.name.to_owned())),
                    Err(problem) => {
                        // A scale whose tensor is misshapen is not an extra of its own.
                        used.extend([Encoding::Blocks, Encoding::Q8].into_iter().filter_map(|e| e.scale_name(&part.name)));
                        problems.push(problem);
                    }
                }
                used.insert(part.name);
            }
        }
        let report = self.report(&used, &mut problems);
        if problems.is_empty() { Ok(report) } else { Err(WeightsError::Unfit { problems, path: self.path.clone() }) }
    }

    /// Counts all stored tensors and adds the extra ones to `problems`.
    fn report(&self, used: &HashSet<String>, problems: &mut Vec<Problem>) -> Report {
        let n_layers = self.config_json().get("num_hidden_layers").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let tied_head = self.config_json().get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        let mtp_layers = sanitize::mtp_layers(self.names(), n_layers);
        let mut report = Report {
            n_tensors: 0,
            size_bytes: 0,
            load_bytes: 0,
            dtypes: BTreeMap::new(),
            n_mtp_tensors: 0,
            mtp_bytes: 0,
            n_ignored_tensors: 0,
        };
        for file in &self.files {
            for (name, entry) in &file.header().entries {
                let n_bytes = entry.n_bytes();
                report.n_tensors += 1;
                report.size_bytes += n_bytes;
                *report.dtypes.entry(entry.dtype).or_default() += 1;
                if used.contains(name) {
                    report.load_bytes += n_bytes;
                    continue;
                }
                match sanitize::classify(name, &mtp_layers, tied_head) {
                    Extra::Mtp => {
                        report.n_mtp_tensors += 1;
                        report.mtp_bytes += n_bytes;
                    }
                    Extra::Harmless => report.n_ignored_tensors += 1,
                    Extra::Unknown => problems.push(Problem::Extra { tensor: name.clone(), file: file.file_name() }),
                }
            }
        }
        report
    }

    /// Finds a part and checks its shape, its type and its scales.
    pub(crate) fn fit(&self, part: &Part) -> Result<Fitted<'_>, Problem> {
        let Some(mut fitted) = self.stored(&part.name) else {
            return Err(Problem::Missing { tensor: part.name.clone() });
        };
        let (tensor, file) = (part.name.clone(), fitted.file.file_name());
        let (found, encoding) = (&fitted.entry.shape, fitted.encoding);
        let expected = encoding.stored_shape(&part.shape).unwrap_or_else(|| part.shape.clone());
        if *found != expected || !encoding.suits(&part.shape) {
            return Err(Problem::Shape { tensor, expected, found: found.clone(), file });
        }
        if encoding == Encoding::Other {
            return Err(Problem::Dtype { tensor, found: fitted.entry.dtype, file });
        }
        fitted.scale = self.fit_scale(&fitted, &part.shape)?.map(Box::new);
        Ok(fitted)
    }

    /// Finds and checks the scales of a quantised tensor.
    fn fit_scale(&self, weight: &Fitted<'_>, shape: &[usize]) -> Result<Option<Fitted<'_>>, Problem> {
        let Some(name) = weight.encoding.scale_name(weight.name) else {
            return Ok(None);
        };
        let (tensor, dtype, file) = (weight.name.to_owned(), weight.entry.dtype, weight.file.file_name());
        let Some((expected_dtype, expected)) = weight.encoding.scales(shape, self.block) else {
            return Err(Problem::Dtype { tensor, found: dtype, file });
        };
        let Some(scale) = self.stored(&name) else {
            return Err(Problem::MissingScale { tensor, dtype, scale: name, file });
        };
        if scale.entry.dtype != expected_dtype || scale.entry.shape != expected {
            let (found, dtype, file) = (scale.entry.shape.clone(), scale.entry.dtype, scale.file.file_name());
            return Err(Problem::Scale { tensor: name, expected, expected_dtype, found, dtype, file });
        }
        Ok(Some(scale))
    }

    /// Finds a stored tensor by its exact name.
    pub(crate) fn stored(&self, name: &str) -> Option<Fitted<'_>> {
        let &file_idx = self.file_of.get(name)?;
        let file = self.files.get(file_idx)?;
        let (name, entry) = file.header().entries.get_key_value(name)?;
        Some(Fitted { name, file, entry, encoding: Encoding::of(entry.dtype, self.is_grouped), scale: None })
    }
}
