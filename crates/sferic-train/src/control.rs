//! The control tokens of a tokenizer: which there are, and which of them begin, end and fill rows.
//!
//! They are found in the files of a model folder: the added tokens of tokenizer.json, `bos_token`, `eos_token` and `pad_token` of
//! tokenizer_config.json, and the ids of generation_config.json and config.json where it does not name them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sferic_text::dsv32;
use tokenizers::Tokenizer;

use crate::TrainError;
use crate::tokenizer::{PAD, Special};

/// The control tokens of one tokenizer.
///
/// All added tokens are control tokens but for those of blanks alone, which some tokenizers have for indented text.
#[derive(Debug, Clone, Default)]
pub struct ControlTokens {
    path: PathBuf,
    all: Vec<Control>,
    /// Indices into `all` by first character, the longest spelling first.
    by_letter: HashMap<char, Vec<usize>>,
    ids: HashSet<u32>,
    begin: Option<u32>,
    end: Option<u32>,
    ends: BTreeSet<u32>,
    pad: u32,
}

/// One control token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) text: Arc<str>,
    pub(crate) id: u32,
    /// The token takes the blanks before it with it, or those behind it.
    pub(crate) strips: [bool; 2],
}

impl ControlTokens {
    /// Returns those of the tokenizers of this crate.
    pub(crate) fn own() -> Self {
        let control = |special: Special| Control { text: special.text().into(), id: special as u32, strips: [false; 2] };
        let roles = Roles {
            begin: Some(Special::Bos as u32),
            end: Some(Special::Eos as u32),
            ends: BTreeSet::from([Special::Eos as u32]),
            pad: Special::Pad as u32,
        };
        Self::new(Special::ALL.map(control).to_vec(), roles, Path::new("tokenizer.json"))
    }

    /// Finds those of a tokenizer, and their roles in the files of `folder`, if there is one.
    ///
    /// # Errors
    /// [`TrainError::MissingToken`] when a file names a begin or end token that the tokenizer does not have, [`TrainError::Io`] and
    /// [`TrainError::Tokenizer`] when a file beside it cannot be read.
    pub(crate) fn find(tokenizer: &Tokenizer, path: &Path, folder: Option<&Path>) -> Result<Self, TrainError> {
        let roles = Files::open(folder)?.roles(tokenizer, path)?;
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let is_control = |token: &tokenizers::AddedToken| token.special || !token.content.trim().is_empty();
        let mut all: Vec<Control> = added
            .iter()
            .filter(|(_, token)| is_control(token))
            .map(|(&id, token)| Control { text: token.content.as_str().into(), id, strips: [token.lstrip, token.rstrip] })
            .collect();
        // Old files have their begin and end tokens in the vocabulary alone.
        for id in [roles.begin, roles.end].into_iter().flatten().collect::<BTreeSet<u32>>() {
            if let (false, Some(text)) = (added.contains_key(&id), tokenizer.id_to_token(id)) {
                all.push(Control { text: text.into(), id, strips: [false; 2] });
            }
        }
        all.sort_by_key(|control| control.id);
        Ok(Self::new(all, roles, path))
    }

    fn new(all: Vec<Control>, roles: Roles, path: &Path) -> Self {
        let mut by_letter: HashMap<char, Vec<usize>> = HashMap::new();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&control_idx| std::cmp::Reverse(all[control_idx].text.len()));
        for control_idx in order {
            if let Some(letter) = all[control_idx].text.chars().next() {
                by_letter.entry(letter).or_default().push(control_idx);
            }
        }
        let ids = all.iter().map(|control| control.id).collect();
        let Roles { begin, end, ends, pad } = roles;
        Self { path: path.to_path_buf(), all, by_letter, ids, begin, end, ends, pad }
    }

    /// Returns the token in front of a text, if the tokenizer has one.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Returns the token behind a text.
    ///
    /// # Errors
    /// [`TrainError::MissingToken`] when no file names one.
    pub fn end(&self) -> Result<u32, TrainError> {
        self.end.ok_or_else(|| TrainError::MissingToken {
            needed_by: "plain text",
            token: "a token that ends a document (`eos_token`)".to_owned(),
            remedy: "name it in the tokenizer_config.json beside the file",
            path: self.path.clone(),
        })
    }

    /// Whether a reply ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Returns what rows are filled up with: a padding token, or any other, as it is never looked at.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Whether an id is that of a control token.
    pub fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Returns the id of a control token by its spelling.
    ///
    /// # Errors
    /// [`TrainError::MissingToken`] when there is none, with conversations as what needs it.
    pub fn id(&self, text: &str) -> Result<u32, TrainError> {
        self.get(text).map(|control| control.id).ok_or_else(|| TrainError::MissingToken {
            needed_by: "a conversation in DeepSeek-V3.2's format",
            token: format!("the control token `{text}`"),
            remedy: "put the model's chat_template.jinja, or a tokenizer_config.json with its `chat_template`, beside the file",
            path: self.path.clone(),
        })
    }

    fn get(&self, text: &str) -> Option<&Control> {
        let places = self.by_letter.get(&text.chars().next()?)?;
        places.iter().map(|&control_idx| &self.all[control_idx]).find(|control| *control.text == *text)
    }

    /// Returns all of them, by id.
    pub(crate) fn all(&self) -> &[Control] {
        &self.all
    }

    /// Returns the first spelling in `text`, the longest where several begin there: its place and the token's index in [`Self::all`].
    pub(crate) fn first_in(&self, text: &str) -> Option<(usize, usize)> {
        text.char_indices().find_map(|(at, letter)| {
            let places = self.by_letter.get(&letter)?;
            let found = places.iter().find(|&&control_idx| text[at..].starts_with(&*self.all[control_idx].text));
            found.map(|&control_idx| (at, control_idx))
        })
    }
}

/// What some control tokens are for.
struct Roles {
    begin: Option<u32>,
    end: Option<u32>,
    ends: BTreeSet<u32>,
    pad: u32,
}

/// The files beside a tokenizer.json, as far as they are there.
struct Files {
    tokenizer: Value,
    /// generation_config.json, then config.json.
    models: [Value; 2],
}

impl Files {
    fn open(folder: Option<&Path>) -> Result<Self, TrainError> {
        let read = |name: &str| -> Result<Value, TrainError> {
            let Some(path) = folder.map(|folder| folder.join(name)).filter(|path| path.exists()) else { return Ok(Value::Null) };
            let bytes = std::fs::read(&path).map_err(TrainError::io("read the file beside the tokenizer", &path))?;
            serde_json::from_slice(&bytes).map_err(|error| TrainError::Tokenizer {
                message: format!("expected JSON beside tokenizer.json, found something else ({error}): {}", path.display()),
            })
        };
        Ok(Self { tokenizer: read("tokenizer_config.json")?, models: [read("generation_config.json")?, read("config.json")?] })
    }

    fn roles(&self, tokenizer: &Tokenizer, path: &Path) -> Result<Roles, TrainError> {
        let named = |key: &'static str| -> Result<Option<u32>, TrainError> {
            let Some(text) = self.name(key) else { return Ok(None) };
            tokenizer.token_to_id(text).map(Some).ok_or_else(|| TrainError::MissingToken {
                needed_by: "tokenizer_config.json",
                token: format!("the token `{text}` (its `{key}`)"),
                remedy: "both files must be of one tokenizer",
                path: path.to_path_buf(),
            })
        };
        let known = |id: &u32| tokenizer.id_to_token(*id).is_some();
        let listed = |key: &'static str| self.models.iter().flat_map(move |file| ids(&file[key])).filter(known);
        let end = named("eos_token")?.or_else(|| listed("eos_token_id").next()).or_else(|| tokenizer.token_to_id(dsv32::EOS));
        // A file that says that there is no begin token is right: ids of a config.json may name one that is never used.
        let is_without = self.tokenizer["add_bos_token"] == false || self.tokenizer.get("bos_token").is_some_and(Value::is_null);
        let begin = match is_without {
            true => None,
            false => named("bos_token")?
                .or_else(|| listed("bos_token_id").next())
                .or_else(|| tokenizer.token_to_id(dsv32::BOS))
                // One token between documents both ends and begins.
                .filter(|begin| Some(*begin) != end),
        };
        let pad = self.name("pad_token").and_then(|text| tokenizer.token_to_id(text)).or_else(|| tokenizer.token_to_id(PAD));
        let ends = listed("eos_token_id").chain(end).collect();
        Ok(Roles { begin, end, ends, pad: pad.or(end).unwrap_or(0) })
    }

    /// A token is a string or, in older files, an object with the string under `content`.
    fn name(&self, key: &str) -> Option<&str> {
        let value = &self.tokenizer[key];
        value.as_str().or_else(|| value["content"].as_str())
    }
}

/// One id or a list of them.
fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
