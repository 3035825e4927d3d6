//! Compares a checkpoint with what a model wants, before anything is loaded.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Checkpoint, Dtype, Problem, Result, SafeFile, WeightsError, fp8,
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
    /// The scales of an FP8 tensor.
    pub(crate) scale: Option<Box<Fitted<'a>>>,
}

impl Fitted<'_> {
    /// Returns the number of values.
    pub(crate) fn n_values(&self) -> usize {
        self.entry.range.len() / self.entry.dtype.size_bytes()
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
                        used.insert(sanitize::scale_name(&part.name));
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
                let n_bytes = entry.range.len() as u64;
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
        if fitted.entry.shape != part.shape {
            return Err(Problem::Shape { tensor, expected: part.shape.clone(), found: fitted.entry.shape.clone(), file });
        }
        if !fitted.entry.dtype.is_weight() {
            return Err(Problem::Dtype { tensor, found: fitted.entry.dtype, file });
        }
        if fitted.entry.dtype == Dtype::F8E4M3 {
            fitted.scale = Some(Box::new(self.fit_scale(&fitted)?));
        }
        Ok(fitted)
    }

    /// Finds and checks the scales of an FP8 tensor.
    fn fit_scale(&self, weight: &Fitted<'_>) -> Result<Fitted<'_>, Problem> {
        let Some(expected) = fp8::scale_shape(&weight.entry.shape, self.block) else {
            return Err(Problem::Dtype {
                tensor: weight.name.to_owned(),
                found: weight.entry.dtype,
                file: weight.file.file_name(),
            });
        };
        let Some(scale) = self.stored(&sanitize::scale_name(weight.name)) else {
            return Err(Problem::MissingScale { tensor: weight.name.to_owned(), file: weight.file.file_name() });
        };
        if scale.entry.dtype != Dtype::F32 || scale.entry.shape != expected {
            let (found, dtype) = (scale.entry.shape.clone(), scale.entry.dtype);
            return Err(Problem::Scale { tensor: scale.name.to_owned(), expected, found, dtype, file: scale.file.file_name() });
        }
        Ok(scale)
    }

    /// Finds a stored tensor by its exact name.
    fn stored(&self, name: &str) -> Option<Fitted<'_>> {
        let &file_idx = self.file_of.get(name)?;
        let file = self.files.get(file_idx)?;
        let (name, entry) = file.header().entries.get_key_value(name)?;
        Some(Fitted { name, file, entry, scale: None })
    }
}
