//! The files of a model that the page holds: in its storage, picked by its visitor, or in its memory. Never whole in the module's memory.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use js_sys::{Function, Uint8Array};
use serde::Deserialize;
use sferic_engine::{ByteSource, EngineError, ModelParts, SafeFile, WeightFiles};
use wasm_bindgen::{JsCast, JsValue};

thread_local! {
    /// `(file, begin, bytes) => Uint8Array` of the worker, which has one model at a time.
    static READ: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// The small files of a model folder.
#[derive(Deserialize)]
pub(crate) struct Files {
    config: String,
    tokenizer: Option<String>,
    tokenizer_config: Option<String>,
    chat_template: Option<String>,
    generation_config: Option<String>,
    weights: Vec<Weights>,
}

/// A safetensors file.
#[derive(Deserialize)]
struct Weights {
    name: String,
    bytes: u64,
}

impl Files {
    /// Reads the headers of the weights. From now on `read` is what their bytes come from.
    pub(crate) fn parts(&self, read: Function) -> Result<ModelParts<'_>, EngineError> {
        READ.set(Some(read));
        let open = |(file_idx, Weights { name, bytes }): (usize, &Weights)| {
            SafeFile::from_source(PathBuf::from(name), Box::new(PageFile { file_idx, size_bytes: *bytes }))
        };
        let files = self.weights.iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(ModelParts {
            config_json: &self.config,
            weights: WeightFiles::Files(files),
            tokenizer_json: self.tokenizer.as_deref().map(str::as_bytes),
            tokenizer_config_json: self.tokenizer_config.as_deref(),
            chat_template_jinja: self.chat_template.as_deref(),
            generation_config_json: self.generation_config.as_deref(),
        })
    }
}

/// Lets go of the page's function.
pub(crate) fn end_reading() {
    READ.set(None);
}

/// A file by its place in the list.
struct PageFile {
    file_idx: usize,
    size_bytes: u64,
}

impl ByteSource for PageFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, begin: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = READ.with_borrow(Clone::clone).ok_or_else(|| io::Error::other("the load is over"))?;
        // Numbers of JavaScript are exact up to 2^53.
        let range = [self.file_idx as f64, begin as f64, buffer.len() as f64].map(JsValue::from);
        let bytes =
            read.call3(&JsValue::NULL, &range[0], &range[1], &range[2]).map_err(|error| io::Error::other(text(&error)))?;
        let bytes = bytes.dyn_into::<Uint8Array>().map_err(|_| io::Error::other("the page gave no bytes"))?;
        if bytes.length() as usize != buffer.len() {
            return Err(io::Error::other(format!(
                "expected {} bytes at {begin}, the page gave {}",
                buffer.len(),
                bytes.length()
            )));
        }
        bytes.copy_to(buffer);
        Ok(())
    }
}

/// What an error of the page says.
fn text(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
}
